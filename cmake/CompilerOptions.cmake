# Language, warnings, instrumentation: the interface library sluice_options.

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  message(FATAL_ERROR
    "Sluice needs clang 19 or newer (package clang-19, CXX=clang++-19), not "
    "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}: g++ rejects the allocation of "
    "coroutine frames from a request's arena, and older clangs lack std::expected.")
endif()

set(SLUICE_SANITIZE "" CACHE STRING "Instrumentation: empty, address (with undefined) or thread")
set_property(CACHE SLUICE_SANITIZE PROPERTY STRINGS "" address thread)
option(SLUICE_COVERAGE "Count which lines run" OFF)
option(SLUICE_FUZZ "Build tests/fuzz with libFuzzer, and nothing else" OFF)

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
# Replaces CMake's default, which has -DNDEBUG: assertions stay on in a release.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")

add_library(sluice_options INTERFACE)
target_compile_options(sluice_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Werror)
target_link_options(sluice_options INTERFACE -fuse-ld=lld)

if(SLUICE_SANITIZE STREQUAL "address")
  # Without vptr: to look at an object it opens a pipe, which tests without descriptors cannot have.
  set(instrumentation -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all)
elseif(SLUICE_SANITIZE STREQUAL "thread")
  set(instrumentation -fsanitize=thread)
elseif(SLUICE_SANITIZE)
  message(FATAL_ERROR "SLUICE_SANITIZE is '${SLUICE_SANITIZE}'; it can be address, thread or empty.")
endif()
if(SLUICE_SANITIZE)
  target_compile_options(sluice_options INTERFACE -O1 -fno-omit-frame-pointer)
  target_compile_definitions(sluice_options INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(SLUICE_COVERAGE)
  list(APPEND instrumentation -fprofile-instr-generate -fcoverage-mapping)
endif()
if(SLUICE_FUZZ)
  # The fuzz programs themselves are linked with -fsanitize=fuzzer, which brings main().
  target_compile_options(sluice_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_compile_options(sluice_options INTERFACE ${instrumentation})
target_link_options(sluice_options INTERFACE ${instrumentation})

find_program(SLUICE_CCACHE ccache)
if(SLUICE_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${SLUICE_CCACHE}")
endif()
# What ccache wants of precompiled headers: it goes by their content, and so do we.
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache$")
  list(PREPEND CMAKE_CXX_COMPILER_LAUNCHER
       "${CMAKE_COMMAND}" -E env "CCACHE_SLOPPINESS=pch_defines,time_macros")
endif()
target_compile_options(sluice_options INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
