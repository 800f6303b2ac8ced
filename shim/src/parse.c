#include "parse.h"

int parse_num_cpus(const char *s)
{
	int n = 0;

	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return 0;
		n = n * 10 + (*s - '0');
		if (n > MAX_CPUS)
			return 0;
	}
	return n;
}

uint64_t parse_number(const char *text, size_t length)
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
		if (n > (UNKNOWN - 9) / 10)
			return UNKNOWN;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	return i > 0 && i < length && text[i] == '\n' ? n : UNKNOWN;
}

// parse_load reads "12.34 " at *at and moves *at behind the space.
static bool parse_load(const char **at, const char *end, double *load)
{
	double value = 0, unit = 1;
	bool fraction = false;
	int digits = 0;

	for (; *at < end && **at != ' '; (*at)++) {
		if (**at == '.' && !fraction) {
			fraction = true;
			continue;
		}
		if (**at < '0' || **at > '9' || ++digits > 15)
			return false;
		value = value * 10 + (**at - '0');
		unit = fraction ? unit * 10 : unit;
	}
	if (digits == 0 || *at == end)
		return false;
	(*at)++;
	*load = value / unit;
	return true;
}

bool parse_loadavg(const char *text, size_t length, double loads[3])
{
	const char *at = text;

	for (int i = 0; i < 3; i++) {
		if (!parse_load(&at, text + length, &loads[i]))
			return false;
	}
	return true;
}
