# sluice_precompile(<target>): compiles the target with what nearly every source includes read once,
# for all targets together: reading these headers takes half of the time of a source. Every source
# includes what it needs all the same, which tools/tidy.py --headers shows for headers.
function(sluice_precompile target)
  get_property(first GLOBAL PROPERTY sluice_precompiled)
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
    return()
  endif()
  set_property(GLOBAL PROPERTY sluice_precompiled ${target})
  target_precompile_headers(${target} PRIVATE
    <algorithm> <array> <atomic> <charconv> <chrono> <condition_variable> <coroutine> <cstdint>
    <cstring> <deque> <expected> <filesystem> <fstream> <functional> <map> <memory> <mutex>
    <optional> <set> <span> <string> <string_view> <thread> <utility> <variant> <vector>
    <fmt/format.h> <fmt/ranges.h> <spdlog/spdlog.h>)
endfunction()
