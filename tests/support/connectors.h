/* connectors.h - for tests of connectors whose weights nobody recorded: random weights, of a seed. */
#ifndef TOMO_TESTS_CONNECTORS_H
#define TOMO_TESTS_CONNECTORS_H

#include "fusion/connector.h"

/* A connector of random weights (matrices of deviation 1 / sqrt(inputs), norms near 1, nothing neutral) with
 * gradients. Fails the test when the settings, the text of a config.json's section, are refused. Freed by
 * test_connector_free. */
typedef struct test_connector {
    tomo_connector_config config;
    tomo_checkpoint *weights;
    tomo_parameters parameters;
    tomo_connector *connector;
} test_connector;
test_connector test_connector_make(const char *json, uint64_t seed);
void test_connector_free(test_connector *connector);

#endif
