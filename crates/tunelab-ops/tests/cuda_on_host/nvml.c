// The driver's library of numbers (NVML) for the card of card.cpp: the functions that are asked how busy it is.

#include <stdlib.h>
#include <string.h>

struct Utilization {
    unsigned gpu, memory;
};

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }

// Another name than that of card.cpp's cuDeviceGetUuid is no card's: not found.
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
    if (strcmp(uuid, "GPU-fedcba98-7654-3210-0123-456789abcdef") != 0) return 6;
    return *device = (void*)1, 0;
}

// By turns 60 and 80; with CARD_HIDES it is not supported, as of a part of a card.
int nvmlDeviceGetUtilizationRates(void* device, struct Utilization* now) {
    static unsigned asked;
    if (!device || getenv("CARD_HIDES")) return 3;
    now->gpu = asked++ % 2 ? 80 : 60;
    now->memory = 1;
    return 0;
}
