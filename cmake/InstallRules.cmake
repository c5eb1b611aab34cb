# `cmake --install`: the program, its manual pages, shell completions, licence and README.

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

foreach(document LICENSE README.md)
  if(EXISTS "${PROJECT_SOURCE_DIR}/${document}")
    install(FILES "${PROJECT_SOURCE_DIR}/${document}" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
  endif()
endforeach()
