# sluice_glob(<variable> <pattern>...): the files below the project that match, sorted. Looked up
# again at every build, so that a new file needs no edit here.
macro(sluice_glob variable)
  set(${variable}_patterns ${ARGN})
  list(TRANSFORM ${variable}_patterns PREPEND "${PROJECT_SOURCE_DIR}/")
  file(GLOB_RECURSE ${variable} CONFIGURE_DEPENDS ${${variable}_patterns})
endmacro()
