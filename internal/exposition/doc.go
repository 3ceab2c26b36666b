// Package exposition turns a page into samples. What a target's earlier pages taught is kept: a line whose
// series text is known costs a hash, a comparison and a number (the repeat path, page.go). A text never seen
// takes the cold way (cold.go): Prometheus' textparse, then the learner's rules. Whatever is no plain text
// format goes through textparse whole (whole.go).
//
// Invariants: the repeat path yields what textparse would, sample for sample and error for error; the
// expected order changes only by Commit, after a page that was good from end to end; nothing of a page's
// text is kept, only hashes.
package exposition
