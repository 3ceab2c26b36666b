// Package series holds what targets share: interned strings, the label sets of targets, and the series made
// of them. A page of a replica costs it little more than the ids, because its sibling's page said the same.
//
// Everything is reference counted: who Adds must Release. An id is reused once its count is 0, so whatever is
// kept under an id elsewhere either holds a reference or compares generations (Gen, SymbolGen).
package series
