package show

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
)

const (
	maxText      = 600 // runes of one value
	maxBodyLines = 20  // of a page that is shown as text; the page /pods shows more
)

// WriteTable writes the pods of an answer as a table, one line each, and a summary below it.
func WriteTable(w io.Writer, a *Answer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(a.Pods) > 0 {
		fmt.Fprintln(t, "VERDICT\tPOD\tLAST\tTOOK\tBYTES\tSAMPLES\tWHY")
	}
	for i := range a.Pods {
		p := &a.Pods[i]
		n := NumbersOf(p, now)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(string(p.Verdict)), plain(p.FullName()), n.Last, n.Took,
			n.Bytes, n.Samples, plain(Why(p)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, summary(a))
	return err
}

// Why returns the sentence of a pod with its hint.
func Why(p *Pod) string {
	if p.Reason.Hint == "" {
		return p.Reason.Sentence
	}
	return p.Reason.Sentence + " (" + p.Reason.Hint + ")"
}

// Numbers are the columns of a pod that are numbers, - where there is none.
type Numbers struct{ Last, Took, Bytes, Samples string }

// NumbersOf returns the numbers of a pod. Last is the time since the last scrape.
func NumbersOf(p *Pod, now time.Time) Numbers {
	n := Numbers{"-", "-", "-", "-"}
	t := p.Target
	if t == nil || t.LastScrape == nil {
		return n
	}
	n.Last, n.Took = Brief(now.Sub(*t.LastScrape)), Brief(seconds(t.Seconds))
	if t.PageBytes > 0 {
		n.Bytes = strconv.FormatInt(t.PageBytes, 10)
	}
	if t.Err == "" {
		n.Samples = strconv.Itoa(t.Samples)
	}
	return n
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// summary returns what stands below the table: causes, funnels, notes, and the number of pods by verdict.
func summary(a *Answer) string {
	var b strings.Builder
	if len(a.Causes) > 0 {
		b.WriteString("\nWhy pods are not scraped, the most frequent cause first:\n")
		for _, c := range a.Causes {
			fmt.Fprintf(&b, "  %s × %s: %s\n      for example %s\n", Count(c.Count), plain(string(c.Verdict)),
				plain(c.Words), plain(c.Example))
		}
	}
	for _, f := range a.Funnels {
		fmt.Fprintf(&b, "\nTargets of job %s:\n", plain(f.Job))
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, s := range f.Steps {
			out := ""
			if s.Out > 0 {
				out = "-" + Count(s.Out)
			}
			fmt.Fprintf(t, "%s\t%s\t  %s\n", out, Count(s.Left), plain(s.Words))
		}
		_ = t.Flush()
	}
	if len(a.Notes) > 0 {
		b.WriteByte('\n')
	}
	for _, note := range a.Notes {
		fmt.Fprintf(&b, "Note: %s\n", plain(note))
	}
	fmt.Fprintf(&b, "\n%s\n", tally(a))
	return b.String()
}

// tally counts pods by verdict: 412 pods: 3 DOWN, 11 NOT A TARGET, 398 SCRAPED.
func tally(a *Answer) string {
	counts := map[diagnose.Verdict]int{}
	var order []diagnose.Verdict // that of the pods: the worst first
	for i := range a.Pods {
		v := a.Pods[i].Verdict
		if counts[v]++; !slices.Contains(order, v) {
			order = append(order, v)
		}
	}
	words := make([]string, 0, len(order))
	for _, v := range order {
		words = append(words, fmt.Sprintf("%s %s", Count(counts[v]), plain(string(v))))
	}
	text := Count(len(a.Pods)) + " pods"
	if len(a.Pods) == 1 {
		text = "1 pod"
	}
	if a.Total > len(a.Pods) {
		text += " of " + Count(a.Total)
	}
	if len(words) > 0 {
		text += ": " + strings.Join(words, ", ")
	}
	return text + "."
}

// WritePod writes one pod and its evidence.
func WritePod(w io.Writer, p *Pod, e *Evidence, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n%s\n", plain(string(p.Verdict)), plain(p.FullName()), plain(p.Reason.Sentence))
	if p.Reason.Hint != "" {
		fmt.Fprintf(&b, "Hint: %s\n", plain(p.Reason.Hint))
	}
	if p.Reason.Command != "" {
		fmt.Fprintf(&b, "\n  %s\n", plain(p.Reason.Command))
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", plain(name), plain(value))
		}
	}
	fact("Node", p.Node)
	fact("Address", p.IP)
	fact("Workload", p.Workload)
	fact("Rule", ruleOf(&p.Reason))
	writeTarget(fact, p.Target, now)
	_ = t.Flush()
	if e != nil {
		writeEvidence(&b, e)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ruleOf(r *Reason) string {
	if r.Rule == 0 {
		return ""
	}
	return fmt.Sprintf("%d of job %s: %s; the value was %q", r.Rule, r.Job, r.RuleText, r.Value)
}

func writeTarget(fact func(name, value string), t *Target, now time.Time) {
	if t == nil {
		return
	}
	fact("Target", fmt.Sprintf("%s of job %s", t.URL, t.Job))
	if t.LastScrape == nil {
		fact("Last scrape", "none yet")
		return
	}
	text := fmt.Sprintf("%s ago, took %s", Brief(now.Sub(*t.LastScrape)), Brief(seconds(t.Seconds)))
	if t.PageBytes > 0 {
		text += ", " + Bytes(t.PageBytes)
	}
	if t.WireBytes > 0 && t.WireBytes != t.PageBytes {
		text += fmt.Sprintf(" (%s sent)", Bytes(t.WireBytes))
	}
	if t.Err == "" {
		text += fmt.Sprintf(", %s samples, %s kept", Count(t.Samples), Count(t.Kept))
	}
	fact("Last scrape", text)
	fact("Last error", t.Err)
	if t.FailingSince != nil {
		scrapes := "1 scrape"
		if t.Failures != 1 {
			scrapes = Count(t.Failures) + " scrapes in a row"
		}
		fact("Failing", fmt.Sprintf("for %s, %s", Brief(now.Sub(*t.FailingSince)), scrapes))
	}
	if t.SlowedSince != nil {
		fact("Asked", fmt.Sprintf("only every %s since %s ago, because it is slow to answer",
			Brief(seconds(t.EverySeconds)), Brief(now.Sub(*t.SlowedSince))))
	}
}

func writeEvidence(b *strings.Builder, e *Evidence) {
	for _, r := range e.Relabeling {
		fmt.Fprintf(b, "\nRules of job %s on %s:\n", plain(r.Job), plain(r.Name))
		for _, s := range r.Steps {
			fmt.Fprintf(b, "  %d. %s\n", s.Rule, plain(s.Words))
			for _, c := range s.Changes {
				b.WriteString("     " + plain(changeWords(c)) + "\n")
			}
			if !s.Kept {
				b.WriteString("     dropped here\n")
			}
		}
		switch {
		case r.Note != "":
			fmt.Fprintf(b, "  %s\n", plain(r.Note))
		case r.Kept:
			b.WriteString("  It is a target.\n")
		}
	}
	if e.Page != nil {
		writePage(b, e.Page)
	}
	if len(e.Now) > 0 || e.NowError != "" {
		b.WriteString("\nThe API server says of the pod now:\n")
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		for _, f := range e.Now {
			fmt.Fprintf(t, "  %s\t%s\n", plain(f.Name), plain(f.Value))
		}
		_ = t.Flush()
		if e.NowError != "" {
			fmt.Fprintf(b, "  %s\n", plain(e.NowError))
		}
	}
	if len(e.Kubectl) > 0 {
		b.WriteString("\nTo fetch the page through the API server:\n")
		for _, line := range e.Kubectl {
			fmt.Fprintf(b, "  %s\n", plain(line))
		}
	}
}

func changeWords(c Change) string {
	switch c.Kind {
	case "changed":
		return fmt.Sprintf("changed %s: %q to %q", c.Name, c.Old, c.New)
	case "removed":
		return fmt.Sprintf("removed %s", c.Name)
	}
	return fmt.Sprintf("added %s: %q", c.Name, c.New)
}

func writePage(b *strings.Builder, p *Page) {
	fmt.Fprintf(b, "\nThe page now, %s:\n", plain(p.URL))
	if p.Err != "" {
		fmt.Fprintf(b, "  %s\n", plain(p.Err))
	}
	if p.Status != "" {
		fmt.Fprintf(b, "  %s after %s\n", plain(p.Status), Brief(seconds(p.Seconds)))
	}
	for _, h := range p.Header {
		fmt.Fprintf(b, "  %s: %s\n", plain(h.Name), plain(h.Value))
	}
	if p.Body == "" {
		return
	}
	lines := strings.Split(strings.TrimRight(p.Body, "\n"), "\n")
	for _, line := range lines[:min(len(lines), maxBodyLines)] {
		fmt.Fprintf(b, "  | %s\n", plain(line))
	}
	if more := len(lines) - maxBodyLines; more > 0 || p.Cut {
		b.WriteString("  | … and more\n")
	}
}

// plain returns a text that a terminal can show, not longer than maxText.
func plain(text string) string {
	n := 0
	for i := range text {
		if n++; n > maxText {
			text = text[:i] + "…"
			break
		}
	}
	return Printable(text)
}

// Printable returns a text on one line and without characters that a terminal takes for a command, such as an escape
// sequence or a mark that turns the direction of the text.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
