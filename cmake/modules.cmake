# A module is a folder of src/: tomo_module(NAME [USES other modules...] [LIBRARIES external targets...]).
# It becomes the static library tomo_NAME. Naming what it uses keeps the layers of docs/design.md honest: a
# module that calls into a layer below it does not link in that module's own tests.
function(tomo_module name)
  cmake_parse_arguments(ARG "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.c
       ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*/*.c)
  if(NOT sources)
    return()
  endif()
  add_library(tomo_${name} STATIC ${sources})
  target_include_directories(tomo_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  foreach(used ${ARG_USES})
    if(TARGET tomo_${used})
      target_link_libraries(tomo_${name} PUBLIC tomo_${used})
    endif()
  endforeach()
  target_link_libraries(tomo_${name} PUBLIC ${ARG_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY TOMO_MODULES tomo_${name})
endfunction()
