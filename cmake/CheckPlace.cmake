# CMake takes these for its own syntax, or for a pattern, and says so in strange places.
if("${CMAKE_SOURCE_DIR}" MATCHES "[][\"\\;*?]")
  message(FATAL_ERROR
    "CMake cannot build what lies in ${CMAKE_SOURCE_DIR}: move the checkout to a place without any "
    "of \" \\ ; * ? [ ] in its path.")
endif()
