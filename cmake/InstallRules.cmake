# `cmake --install`: the program, its manual pages, shell completions, systemd units, licence and README.

install(TARGETS sluice RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

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
  foreach(file systemd/sluice@.service udev/71-sluice-unprivileged.rules udev/ublk-chown)
    configure_file(\"${PROJECT_SOURCE_DIR}/\${file}.in\" \"${PROJECT_BINARY_DIR}/\${file}\" @ONLY)
  endforeach()
")
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
