package cost

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// maxCell is how many bytes of a name a table shows: a hostile target must not make lines endless.
const maxCell = 1000

// WriteText prints the report for people: totals, answers with their fixes, then the table.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	r.writeTotals(&b)
	for i := range r.WhatIf {
		r.WhatIf[i].write(&b)
	}
	r.writeTable(&b)
	for i := range r.Advice {
		r.Advice[i].write(&b)
	}
	if len(r.Advice) > 0 {
		b.WriteString("\n")
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "%s\n", plain(note))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *Report) writeTotals(b *bytes.Buffer) {
	t := &r.Totals
	fmt.Fprintf(b, "%s series of %s targets, %s samples per second", number(t.Series), number(t.Targets),
		decimal(t.SamplesPerSecond))
	if t.Change != nil {
		fmt.Fprintf(b, " (%s since %s)", t.Cell("change"), t.Cell("since"))
	}
	if t.Summed != nil {
		fmt.Fprintf(b, "\nSummed: %s of the series. Sent: %s.", t.Cell("summed"), t.Cell("sent"))
	}
	fmt.Fprintf(b, "\nRead: %s of pages per second, %s on the wire. ", size(int64(t.PageBytesPerSecond)),
		size(int64(t.WireBytesPerSecond)))
	if t.WrittenBytesPerSecond != nil {
		fmt.Fprintf(b, "Written: %s per second. ", t.Cell("written"))
	}
	fmt.Fprintf(b, "Sidecars spend %s s per second on scrapes.\n", decimal(t.ScrapeSecondsPerSecond))
	fmt.Fprintf(b, "Buckets of histograms: %s of the series.", percent(share(t.Buckets, t.Series)))
	if t.Zero != nil {
		fmt.Fprintf(b, " Zero at every scrape since %s: %s.", t.Cell("zero_since"), percent(share(*t.Zero, t.Series)))
	}
	if t.Dropped > 0 {
		fmt.Fprintf(b, " Rules drop %s more samples of each round of scrapes.", number(t.Dropped))
	}
	b.WriteString("\n")
}

func (w *WhatIf) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nWhat if: %s\n  %s\n", plain(w.Question), plain(w.Answer))
	list := func(head string, names []string) {
		const shown = 20
		for i, name := range names {
			if i == 0 {
				fmt.Fprintf(b, "  %s:\n", head)
			}
			if i == shown {
				fmt.Fprintf(b, "    and %d more (--output=json lists them)\n", len(names)-shown)
				break
			}
			fmt.Fprintf(b, "    %s\n", plain(name))
		}
	}
	list("Would go", w.Families)
	list("Used, but no target shows it", w.Missing)
	list("Could not be read", w.Problems)
	list("Labels that no expression names", w.UnusedLabels)
	for _, f := range w.Fixes {
		f.write(b)
	}
}

func (f *Fix) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n  %s.\n", plain(f.Title))
	for _, place := range []struct{ name, saves string }{
		{"sidecar", f.Sidecar}, {"network", f.Network}, {"receiver", f.Receiver},
	} {
		saves := place.saves
		if saves == "" {
			saves = "nothing"
		}
		fmt.Fprintf(b, "  Saves at the %s: %s\n", place.name, saves)
	}
	for line := range strings.Lines(f.YAML) {
		fmt.Fprintf(b, "    %s", line)
	}
}

func (r *Report) writeTable(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nBy %s:\n", r.Query.By)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := r.Columns()
	for _, c := range columns[1:] {
		fmt.Fprintf(t, "%s\t", strings.ToUpper(c.Text))
	}
	fmt.Fprintf(t, "  %s\n", strings.ToUpper(columns[0].Text)) // the last cell is not aligned
	for i := range r.Rows {
		for _, c := range columns[1:] {
			fmt.Fprintf(t, "%s\t", r.Rows[i].Cell(c.Key))
		}
		fmt.Fprintf(t, "  %s\n", plain(r.Rows[i].Name))
	}
	_ = t.Flush() // b takes everything
	from := r.Query.From()
	switch {
	case r.Found == 0 && r.All == 0:
		b.WriteString("nothing\n")
	case len(r.Rows) < r.Found:
		fmt.Fprintf(b, "Rows %d to %d of %d.\n", min(from+1, r.Found), from+len(r.Rows), r.Found)
	}
	b.WriteString("\n")
}

// Columns returns the columns of the report's table: those of Columns, without what is not known of any row.
func (r *Report) Columns() []Column {
	columns := Columns(r.Query.By)
	if r.Totals.Summed != nil {
		return columns
	}
	return slices.DeleteFunc(columns, func(c Column) bool { return c.Key == "summed" })
}

// Cell returns the text of a column of the row; "–" for what is not known.
func (r *Row) Cell(column string) string {
	switch column {
	case "name":
		return plain(r.Name)
	case "series":
		return number(r.Series)
	case "share":
		return percent(r.Share)
	case "samples":
		return decimal(r.SamplesPerSecond)
	case "bytes":
		return size(r.PageBytes)
	case "pods":
		return number(r.Pods)
	case "buckets":
		return percent(share(r.Buckets, r.Series))
	case "values":
		return number(r.Values)
	case "took":
		return strconv.FormatFloat(r.ScrapeSeconds, 'f', 4, 64)
	case "zero":
		if r.Zero != nil {
			return percent(share(*r.Zero, r.Series))
		}
	case "summed":
		if r.Summed != nil {
			return percent(share(*r.Summed, r.Series))
		}
	case "change":
		if r.Change != nil {
			return signed(*r.Change)
		}
	}
	return "–"
}

// Cell returns a figure as text; "–" if it is not known.
func (t *Totals) Cell(key string) string {
	const clock = "15:04 UTC"
	switch {
	case key == "change" && t.Change != nil:
		return signed(*t.Change)
	case key == "since" && t.Since != nil:
		return t.Since.UTC().Format(clock)
	case key == "zero" && t.Zero != nil:
		return number(*t.Zero)
	case key == "zero_since" && t.ZeroSince != nil:
		return t.ZeroSince.UTC().Format(clock)
	case key == "summed" && t.Summed != nil:
		return number(*t.Summed)
	case key == "sent" && t.Aggregates != nil:
		return fmt.Sprintf("%s series, of which %s are aggregates", number(t.SentSeries), number(*t.Aggregates))
	case key == "sent":
		return fmt.Sprintf("%s series, and aggregates, which only a running process counts", number(t.SentSeries))
	case key == "written" && t.WrittenBytesPerSecond != nil:
		return size(int64(*t.WrittenBytesPerSecond))
	}
	return "–"
}

// plain returns a text that cannot move the cursor of a terminal, or fill the screen.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxCell {
		text = strings.ToValidUTF8(text[:maxCell], "") + "…"
	}
	return text
}

// number prints 12,345.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func signed(n int) string {
	if n > 0 {
		return "+" + number(n)
	}
	return number(n)
}

// decimal prints 12,345, 12.3 or 0.012.
func decimal(f float64) string {
	switch {
	case f >= 100 || f == 0:
		return number(int(f + 0.5))
	case f >= 1:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 3, 64)
	}
}

func percent(f float64) string { return strconv.FormatFloat(100*f, 'f', 1, 64) + "%" }

// size prints 512 B, 1.5 KiB, 20.0 MiB.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < 3 {
		value, unit = value/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit])
}
