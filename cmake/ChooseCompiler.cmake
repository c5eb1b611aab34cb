# Takes clang++-19 where the caller has not named a compiler. CompilerOptions.cmake judges the choice.
if(NOT DEFINED CMAKE_CXX_COMPILER AND NOT DEFINED ENV{CXX})
  find_program(SLUICE_CLANG NAMES clang++-19 DOC "The compiler")
  if(SLUICE_CLANG)
    set(CMAKE_CXX_COMPILER "${SLUICE_CLANG}")
  endif()
endif()

if(NOT DEFINED CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "The only one; what varies is in the SLUICE_ options")
endif()
