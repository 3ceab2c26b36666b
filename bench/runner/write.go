package runner

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeTextTable writes the lines of head and a table for a terminal.
func writeTextTable(w io.Writer, head []string, cells [][]string) error {
	_, _ = fmt.Fprintln(w, strings.Join(head, "\n")) // the flush below reports what a broken writer does
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range cells {
		_, _ = fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	return t.Flush()
}

// writeMarkdownTable writes the same for a document.
func writeMarkdownTable(w io.Writer, head []string, cells [][]string) error {
	var b strings.Builder
	for i, line := range cells {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(line)) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String()+"\n- "+strings.Join(head, "\n- ")+"\n")
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
