# How each kind of test in tests/CMakeLists.txt becomes a ctest test.
include(GoogleTest)

# Seconds after which a script has stopped for good. No script's own limit: a slow machine may take
# several times as long as a quick one. tests/device/run says the same.
set(SCRIPT_LIMIT 1200)

# add_gtest_program(<label> <timeout in seconds> <source>...): the program <label>_tests.
function(add_gtest_program label timeout)
  if(NOT ARGN)
    return()
  endif()
  add_executable(${label}_tests ${ARGN})
  target_link_libraries(${label}_tests PRIVATE test_support)
  # Memory stays with the process when it is freed: tests that copy whole images again and again
  # spent most of their time on page faults.
  set(keep "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296")
  # Listed when ctest starts and not in the build, so that a program which cannot start fails as a test.
  gtest_discover_tests(${label}_tests
    DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${label} TIMEOUT ${timeout} FIXTURES_REQUIRED fuse_over_uring
               ENVIRONMENT "SLUICE_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
               ENVIRONMENT_MODIFICATION "GLIBC_TUNABLES=set:${keep}")
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
    target_link_libraries(${program} PRIVATE sluice_cli)
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
    target_link_libraries(${program} PRIVATE fuzz_replay_main sluice_cli)
    add_test(NAME fuzz.${name}
             COMMAND ${program} "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name}"
             WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  endforeach()
endfunction()

# add_script_tests(<label> <script>...): one ctest test each, on this machine's own kernel.
function(add_script_tests label)
  remove_helpers(scripts ${ARGN})
  foreach(script ${scripts})
    cmake_path(GET script STEM name)
    add_test(NAME ${label}.${name} COMMAND bash "${script}" WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_script_properties("${script}" ${label}.${name} ${label} ${SCRIPT_LIMIT})
    # Each would switch it on by itself, and wait for the others then.
    set_tests_properties(${label}.${name} PROPERTIES FIXTURES_REQUIRED fuse_over_uring)
    # The number of a loop device that goes is the next one that others get, and a mount namespace
    # copies the mounts of all others and keeps their devices in use: such scripts run one at a time.
    file(STRINGS "${script}" loops LIMIT_COUNT 1
         REGEX "lib_(loop|hostile|edges|two)|losetup|frontend loop|unshare .*-[a-z-]*m")
    if(loops)
      set_tests_properties(${label}.${name} PROPERTIES RESOURCE_LOCK loop_devices)
    endif()
    read_header("${script}" alone 0 alone)
    if(alone)
      set_tests_properties(${label}.${name} PROPERTIES RUN_SERIAL TRUE)
    endif()
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
      target_link_libraries(device_${program} PRIVATE test_support)
      set(command "$<TARGET_FILE:device_${program}>")
    endif()
    read_header("${test}" retries 1 retries)
    math(EXPR limit "(${SCRIPT_LIMIT} + 100) * (${retries} + 1) + 30")
    add_test(NAME device.${name} COMMAND bash "${run}" "${test}" ${command}
             WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    set_script_properties("${test}" device.${name} device ${limit})
    set_tests_properties(device.${name} PROPERTIES FIXTURES_REQUIRED guest)
    # Guests are apart from each other; the one kernel of a machine with ublk is not.
    if(EXISTS /dev/ublk-control)
      set_tests_properties(device.${name} PROPERTIES RUN_SERIAL TRUE)
    endif()
  endforeach()
endfunction()

# Scripts first, of these the longest (`# seconds: N`), and the many small tests last: or the last
# script would run alone. Programs of Debian's packages go before others of the same name: a python3
# of a version manager may be a script that takes 0.1 s to start the real one.
function(set_script_properties script test label timeout)
  read_header("${script}" seconds 100 seconds)
  set_tests_properties(${test} PROPERTIES COST ${seconds}
    LABELS ${label} TIMEOUT ${timeout} SKIP_RETURN_CODE 77 PROCESSORS 1
    ENVIRONMENT_MODIFICATION "PATH=path_list_prepend:/usr/bin"
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
