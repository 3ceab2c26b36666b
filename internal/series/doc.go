// Package series holds what targets share: interned strings, the label sets of targets, and the series made
// of them. A page of a replica costs it little more than the ids, because its sibling's page said the same.
//
// Everything is reference counted: who Adds must Release. An id is reused once its count is 0, so whatever is
// kept under an id elsewhere either holds a reference or compares generations (Gen, SymbolGen).
//
// table.go adds a series; slices.go retains and releases many, a bounded number under one hold of the lock. Series,
// strings (symbols.go), sets of labels (stems.go) and families (metas.go) are stored in slabs (slab.go), which give
// back what is empty; the labels of stems are in an arena (arena.go).
package series
