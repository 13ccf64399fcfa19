/* report.h - the result of a run, as text or as one JSON object. */
#pragma once
#include <stdio.h>

struct bench;

void report_text(const struct bench *b, FILE *out);
void report_json(const struct bench *b, FILE *out);
/* 0, or 3 when messages were lost, refused, duplicated or out of order. */
int report_status(const struct bench *b);
