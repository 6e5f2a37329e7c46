/* A table of 256 entries of which each is the sum (exclusive or) of those of its index's bits, as of every
 * checksum of a byte: written as the eight entries of one bit, the lowest bit first. */
#ifndef STORAGE_TABLE_H
#define STORAGE_TABLE_H

#define TABLE_1(x, a)                   (x), (x) ^ (a)
#define TABLE_2(x, a, b)                TABLE_1(x, a), TABLE_1((x) ^ (b), a)
#define TABLE_3(x, a, b, c)             TABLE_2(x, a, b), TABLE_2((x) ^ (c), a, b)
#define TABLE_4(x, a, b, c, d)          TABLE_3(x, a, b, c), TABLE_3((x) ^ (d), a, b, c)
#define TABLE_5(x, a, b, c, d, e)       TABLE_4(x, a, b, c, d), TABLE_4((x) ^ (e), a, b, c, d)
#define TABLE_6(x, a, b, c, d, e, f)    TABLE_5(x, a, b, c, d, e), TABLE_5((x) ^ (f), a, b, c, d, e)
#define TABLE_7(x, a, b, c, d, e, f, g) TABLE_6(x, a, b, c, d, e, f), TABLE_6((x) ^ (g), a, b, c, d, e, f)
#define TABLE(a, b, c, d, e, f, g, h)   TABLE_7(0u, a, b, c, d, e, f, g), TABLE_7(h, a, b, c, d, e, f, g)

#endif
