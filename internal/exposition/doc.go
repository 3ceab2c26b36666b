// Package exposition turns the text of a page into samples. Almost every line of a page was there at the last scrape
// and only its value has changed, so the package remembers the lines of each target: not their texts, only hashes.
//
// The way of a page, from top to bottom:
//
//  1. Page.Read (page.go) finds out the format from the content type. Everything but plain text (OpenMetrics, protobuf)
//     is read as a whole by Prometheus' textparse (whole.go).
//  2. reading.lines (reading.go) reads plain text line by line, in pieces of at most 64 KiB. It parses them in the
//     caller's buffer, without a copy (pieces.go). A line is one of the following, tried in this order: the known line
//     expected next, a known line elsewhere (known.go), a new line in Envoy's form (envoyform.go), or anything else,
//     which textparse reads (slowline.go).
//  3. Each sample is counted, checked against the limits (limits.go) and added to the series.Batch (samples.go). The
//     caller's Learner decides once which series a new line is.
//  4. While every line is the one expected, the page's lines need no memory. From the first other line on, a draft
//     (draft.go) collects them.
//  5. Page.Settle, after a good page, makes a layout (layout.go) of its lines, and Page.Commit expects it next.
//     Page.Abandon, after a page that failed, keeps the layout and adds the lines learned. Targets that print the same
//     page share one layout (layouts.go).
//
// Invariants: samples and errors are those that textparse alone would yield. The expected order of lines changes only
// in Commit, after a page that was good from its first to its last line. Nothing of a page's text is kept here, except
// HELP, UNIT and the exemplars that were sent last (exemplars.go).
package exposition
