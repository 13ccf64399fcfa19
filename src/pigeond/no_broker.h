/* no_broker.h - a broker that plugins cannot do anything with: for those who load plugins without
 * running one. Nobody owns it; it never keeps what it is given. */
#pragma once
#include "hooks/hooks.h"

extern const struct hooks_ops no_broker_ops;
