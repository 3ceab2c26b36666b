// Package receiver is a remote write endpoint that stores nothing: it decodes
// requests of both protocols, counts what they hold and checks what a sender
// must keep (labels sorted, none twice, timestamps rising within each series).
//
// Decoding is by hand over the decompressed bytes, in two passes: remote write
// 2.0 may name a string after the series that uses it.
package receiver
