# `cmake --install`: the program, its manual pages, shell completions, systemd units, licence and README;
# the engine for programs that embed a device, its headers and what pkg-config says of it.

install(TARGETS sluice RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

install(TARGETS sluice_engine ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/sluice"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/sluice")
foreach(layer ${engine_layers})
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/src/${layer}"
          DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/sluice" FILES_MATCHING PATTERN "*.hpp")
endforeach()

foreach(section RANGE 1 8)
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
  if(pages)
    install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
  endif()
endforeach()

# completions/sluice.bash, completions/_sluice (zsh), completions/sluice.fish
function(install_completion source directory name)
  if(EXISTS "${PROJECT_SOURCE_DIR}/completions/${source}")
    install(FILES "${PROJECT_SOURCE_DIR}/completions/${source}"
            DESTINATION "${CMAKE_INSTALL_DATADIR}/${directory}" RENAME "${name}")
  endif()
endfunction()
install_completion(sluice.bash bash-completion/completions sluice)
install_completion(_sluice zsh/site-functions _sluice)
install_completion(sluice.fish fish/vendor_completions.d sluice.fish)

# What names places of other installed files is made when the prefix is known, in its place and not in
# the build folder: several may install from there at once.
install(CODE "
  set(bindir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  set(datadir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}\")
  set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
  set(CMAKE_INSTALL_LIBDIR \"${CMAKE_INSTALL_LIBDIR}\")
  set(CMAKE_INSTALL_INCLUDEDIR \"${CMAKE_INSTALL_INCLUDEDIR}\")
  set(PROJECT_VERSION \"${PROJECT_VERSION}\")
  # Whoever links an instrumented library is instrumented likewise.
  string(JOIN \" \" INSTRUMENTATION ${instrumentation})
  set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
  macro(install_made source name)
    configure_file(\"\${source}\" \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${name}\" @ONLY
                   FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ \${ARGN})
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${CMAKE_INSTALL_PREFIX}/\${name}\")
    message(STATUS \"Installing: \$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${name}\")
  endmacro()
")
function(install_made source name)
  string(JOIN " " permissions ${ARGN})
  install(CODE "install_made([[${PROJECT_SOURCE_DIR}/${source}]] [[${name}]] ${permissions})")
endfunction()
install_made(cmake/sluice.pc.in "${CMAKE_INSTALL_LIBDIR}/pkgconfig/sluice.pc")
# Where systemd and udev look below any of their prefixes, /usr and /usr/local among them.
install_made(systemd/sluice@.service.in "lib/systemd/system/sluice@.service")
install(FILES "${PROJECT_SOURCE_DIR}/systemd/sluice.target" DESTINATION "lib/systemd/system")
install_made(udev/60-sluice.rules.in "lib/udev/rules.d/60-sluice.rules")
install_made(udev/71-sluice-unprivileged.rules.in
             "${CMAKE_INSTALL_DATADIR}/sluice/udev/71-sluice-unprivileged.rules")
install_made(udev/ublk-chown.in "${CMAKE_INSTALL_DATADIR}/sluice/udev/ublk-chown"
             OWNER_EXECUTE GROUP_EXECUTE WORLD_EXECUTE)

foreach(document LICENSE README.md)
  if(EXISTS "${PROJECT_SOURCE_DIR}/${document}")
    install(FILES "${PROJECT_SOURCE_DIR}/${document}" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
  endif()
endforeach()
