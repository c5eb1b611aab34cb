# The libraries, as Debian packages them: those of the engine are the interface library
# sluice_dependencies; CLI11 is the command line's, libblkid the image tools'. `tools/deps` installs them.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing>=2.3)
pkg_check_modules(libxxhash REQUIRED IMPORTED_TARGET libxxhash>=0.8.0) # XXH3 is final since
pkg_check_modules(libisal REQUIRED IMPORTED_TARGET libisal>=2.30)
find_package(OpenSSL 3.0 REQUIRED) # only its headers: src/tls/openssl.hpp loads it
pkg_check_modules(libblkid REQUIRED IMPORTED_TARGET blkid>=2.32)
find_package(ZLIB REQUIRED)
pkg_check_modules(libzstd REQUIRED libzstd>=1.4.0) # only its header: src/target/qcow2/decompress.cpp loads it
pkg_check_modules(libcryptsetup REQUIRED libcryptsetup>=2.5.0) # likewise, in /usr/include: src/target/crypt/libraries.cpp
find_path(librbd_include rbd/librbd.h REQUIRED) # only headers: src/target/rbd/libraries.cpp loads the libraries
find_path(librados_include rados/librados.h REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED) # Debian's is built against its own package of fmt
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

add_library(sluice_dependencies INTERFACE)
target_link_libraries(sluice_dependencies INTERFACE
  PkgConfig::liburing PkgConfig::libxxhash PkgConfig::libisal fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json
  ZLIB::ZLIB Threads::Threads ${CMAKE_DL_LIBS})
target_include_directories(sluice_dependencies SYSTEM INTERFACE ${OPENSSL_INCLUDE_DIR} ${libzstd_INCLUDE_DIRS})
