# How each kind of test in tests/CMakeLists.txt becomes a ctest test.
include(GoogleTest)

# add_gtest_program(<label> <timeout in seconds> <source>...): the program <label>_tests.
function(add_gtest_program label timeout)
  if(NOT ARGN)
    return()
  endif()
  add_executable(${label}_tests ${ARGN})
  target_link_libraries(${label}_tests PRIVATE test_support GTest::gmock_main)
  # Listed when ctest starts and not in the build, so that a program which cannot start fails as a test.
  gtest_discover_tests(${label}_tests
    DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${label} TIMEOUT ${timeout} FIXTURES_REQUIRED fuse_over_uring
               ENVIRONMENT "SLUICE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

# FUSE over io_uring is switched on, where it can be, while programs run that try it.
function(add_uring_fixture)
  set(script "${CMAKE_CURRENT_SOURCE_DIR}/support/fuse_over_uring.sh")
  set(before "${CMAKE_BINARY_DIR}/fuse_over_uring.before")
  add_test(NAME support.fuse_over_uring_on COMMAND bash "${script}" on "${before}")
  add_test(NAME support.fuse_over_uring_back COMMAND bash "${script}" back "${before}")
  set_tests_properties(support.fuse_over_uring_on PROPERTIES FIXTURES_SETUP fuse_over_uring)
  set_tests_properties(support.fuse_over_uring_back PROPERTIES FIXTURES_CLEANUP fuse_over_uring)
endfunction()

# The fuzz targets with libFuzzer's main(); tools/fuzz runs them.
function(add_fuzz_programs)
  foreach(source ${ARGN})
    cmake_path(GET source STEM program)
    add_executable(${program} "${source}")
    target_link_libraries(${program} PRIVATE sluice_core)
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
  endforeach()
endfunction()

# The same targets with a main() that needs no libFuzzer and ends within seconds.
function(add_fuzz_replays)
  if(NOT ARGN)
    return()
  endif()
  add_library(fuzz_replay_main STATIC fuzz/replay_main.cpp)
  target_link_libraries(fuzz_replay_main PUBLIC sluice_options)
  foreach(source ${ARGN})
    cmake_path(GET source STEM program)
    string(REGEX REPLACE "_fuzz$" "" name "${program}")
    add_executable(${program} "${source}")
    target_link_libraries(${program} PRIVATE fuzz_replay_main sluice_core)
    add_test(NAME fuzz.${name}
             COMMAND ${program} "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name}"
             WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  endforeach()
endfunction()

function(add_interop_tests)
  remove_helpers(scripts ${ARGN})
  foreach(script ${scripts})
    cmake_path(GET script STEM name)
    read_header("${script}" timeout 120 timeout)
    add_test(NAME interop.${name} COMMAND bash "${script}" WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_script_properties(interop.${name} interop ${timeout})
  endforeach()
endfunction()

# tests/device/run decides where each one runs, keeps its time limit and starts it over when its
# guest kernel (not the test) failed; ctest's own limit is only the net below that.
function(add_device_tests)
  remove_helpers(tests ${ARGN})
  if(NOT tests)
    return()
  endif()
  set(run "${CMAKE_CURRENT_SOURCE_DIR}/device/run")
  add_test(NAME device.guest COMMAND bash "${run}" --fetch)
  set_tests_properties(device.guest PROPERTIES LABELS device TIMEOUT 1800 FIXTURES_SETUP guest)
  foreach(test ${tests})
    cmake_path(GET test STEM program)
    string(REGEX REPLACE "_test$" "" name "${program}")
    set(command "")
    if(test MATCHES "\\.cpp$")
      add_executable(device_${program} "${test}")
      target_link_libraries(device_${program} PRIVATE test_support GTest::gmock_main)
      set(command "$<TARGET_FILE:device_${program}>")
    endif()
    read_header("${test}" timeout 300 timeout)
    read_header("${test}" retries 1 retries)
    math(EXPR limit "(${timeout} + 100) * (${retries} + 1) + 30")
    add_test(NAME device.${name} COMMAND bash "${run}" "${test}" ${command}
             WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_script_properties(device.${name} device ${limit})
    set_tests_properties(device.${name} PROPERTIES FIXTURES_REQUIRED guest)
    # Guests are apart from each other; the one kernel of a machine with ublk is not.
    if(EXISTS /dev/ublk-control)
      set_tests_properties(device.${name} PROPERTIES RUN_SERIAL TRUE)
    endif()
  endforeach()
endfunction()

function(set_script_properties test label timeout)
  set_tests_properties(${test} PROPERTIES
    LABELS ${label} TIMEOUT ${timeout} SKIP_RETURN_CODE 77 PROCESSORS 1
    ENVIRONMENT "SLUICE=$<TARGET_FILE:sluice>;SLUICE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

function(remove_helpers variable)
  set(tests ${ARGN})
  list(FILTER tests EXCLUDE REGEX "/(lib|_)[^/]*$")
  set(${variable} "${tests}" PARENT_SCOPE)
endfunction()

# read_header(<file> <key> <fallback> <variable>): N of the first line `# key: N` or `// key: N`.
function(read_header file key fallback variable)
  set(${variable} "${fallback}" PARENT_SCOPE)
  file(STRINGS "${file}" line REGEX "^(#|//) ${key}: [0-9]+" LIMIT_COUNT 1)
  if(line MATCHES ": ([0-9]+)")
    set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
endfunction()
