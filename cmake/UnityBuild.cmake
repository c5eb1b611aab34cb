# sluice_join_sources(<target>): compiles the target's sources in groups, each group as one: most of
# the time of a source goes into headers and templates that its neighbours need as well. A group has
# up to eight sources of one folder, so that a new file regroups its own folder only. Names in the
# anonymous namespaces of a folder are therefore distinct. `cmake -DSLUICE_JOIN=OFF` compiles
# each source alone, as `make lint` does.
option(SLUICE_JOIN "Compile the sources of a folder in groups" ON)

function(sluice_join_sources target)
  get_target_property(sources ${target} SOURCES)
  foreach(source IN LISTS sources)
    cmake_path(GET source PARENT_PATH folder)
    file(RELATIVE_PATH folder "${PROJECT_SOURCE_DIR}" "${folder}")
    string(MAKE_C_IDENTIFIER "${folder}" folder)
    math(EXPR ${folder}_count "${${folder}_count} + 1")
    math(EXPR number "(${${folder}_count} - 1) / 8")
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP "${folder}_${number}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${SLUICE_JOIN} UNITY_BUILD_MODE GROUP)
endfunction()
