// Stands in for nvcc's header of this name; see shim.h.
#include "shim.h"
