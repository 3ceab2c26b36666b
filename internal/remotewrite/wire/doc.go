// Package wire encodes samples for remote write: bytes in, bytes out. It starts no goroutine, reads no clock and logs
// nothing. The way of a sample:
//
//  1. FragmentWriter (fragment.go) writes it as a TimeSeries of remote write 2.0, into the request that is open. Labels
//     are numbers of symbols: numbering.go gives each string of a request its number, labels.go writes the labels that
//     series share (a stem) once for each batch.
//  2. FragmentWriter.Cut packs what was written since the last Cut into a fragment of two snappy blocks, the new
//     symbols and the series (packed.go). Fragments are what is queued.
//     A scrape of a page like the one before takes less. Its rows, which are series without samples
//     (FragmentWriter.AddLabels), are a layout, written once by CutLayout (layout.go): symbols, and each row as its
//     difference from the row before (rows.go, rowreader.go). Its values and its time are a column of the layout
//     (AppendColumn, column.go), about two bytes per sample.
//  3. Pool.Merge (pool.go) makes messages of several requests, so that each series has all its samples in one place.
//     Columns of different streams have no series in common. So their rows are written one after the other, as copies
//     of the row before (columnjoiner.go, columnsymbols.go, columnwriter.go, columnsamples.go), or as 1.0 at once
//     (columnwriterv1.go, joinedmessage.go). Streams with anything else are unpacked, and their series looked up
//     (merge.go, merge_columns.go, merge_rows.go, merge_write.go).
//     A request without a layout that is sent alone is a Message as it is: its fragments.
//  4. Pool.Body makes the body of a POST of a Message. In 2.0 the compressed blocks are put end to end (message.go). In
//     1.0 each series has its labels in full (v1.go): they are compressed while they are written, with copies of what
//     an earlier series has too (v1_compare.go, v1_texts.go, writtentexts.go, snappy.go).
//
// A message can be read back: Parse takes it apart (message.go). Content.Subset makes a smaller message of it,
// Content.Split divides it by series, Content.SplitTimes and Content.SplitSeries by time (subset.go). Content.Describe
// and Content.Labels show it to people (describe.go). AppendFamilies encodes metadata for 1.0 (families.go).
//
// Everything that is read back may be damaged: lengths are checked before they are used, and errDamaged is returned.
package wire
