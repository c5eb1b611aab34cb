# `cmake --install`: the program, its manual pages, shell completions, systemd units, licence and README;
# the library for programs that embed a device, its headers and what pkg-config says of it.

install(TARGETS sluice RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

install(TARGETS sluice_core ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/sluice"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/sluice")
foreach(layer core ring spec lend target frontend)
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

# What names places of other installed files is made when the prefix is known.
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
  configure_file(\"${PROJECT_SOURCE_DIR}/cmake/sluice.pc.in\" \"${PROJECT_BINARY_DIR}/sluice.pc\" @ONLY)
  foreach(file systemd/sluice@.service udev/71-sluice-unprivileged.rules udev/ublk-chown)
    configure_file(\"${PROJECT_SOURCE_DIR}/\${file}.in\" \"${PROJECT_BINARY_DIR}/\${file}\" @ONLY)
  endforeach()
")
install(FILES "${PROJECT_BINARY_DIR}/sluice.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
# Where systemd looks for units below any of its prefixes, /usr and /usr/local among them.
install(FILES "${PROJECT_BINARY_DIR}/systemd/sluice@.service"
              "${PROJECT_SOURCE_DIR}/systemd/sluice.target"
        DESTINATION "lib/systemd/system")
install(FILES "${PROJECT_BINARY_DIR}/udev/71-sluice-unprivileged.rules"
        DESTINATION "${CMAKE_INSTALL_DATADIR}/sluice/udev")
install(PROGRAMS "${PROJECT_BINARY_DIR}/udev/ublk-chown"
        DESTINATION "${CMAKE_INSTALL_DATADIR}/sluice/udev")

foreach(document LICENSE README.md)
  if(EXISTS "${PROJECT_SOURCE_DIR}/${document}")
    install(FILES "${PROJECT_SOURCE_DIR}/${document}" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
  endif()
endforeach()
