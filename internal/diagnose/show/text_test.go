package show

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func someRows() diagnose.Report {
	target := func(job string, ago, took time.Duration, bytes int64, samples int) *diagnose.Target {
		return &diagnose.Target{Job: job, LastScrape: noon.Add(-ago), Duration: took, PageBytes: bytes,
			Samples: samples}
	}
	return diagnose.Report{At: noon, Rows: []diagnose.Row{
		{Namespace: "shop", Pod: "cart-1", Verdict: diagnose.Down, Target: target("mesh", time.Minute, 1, 0, 0)},
		{Namespace: "pay", Pod: "api-0", Verdict: diagnose.NotATarget},
		{Namespace: "pay", Pod: "api-1", Verdict: diagnose.NotReady, Target: &diagnose.Target{Job: "mesh"}},
		{Namespace: "shop", Pod: "cart-0", Verdict: diagnose.Scraped, Target: target("mesh", time.Second, 30, 900,
			100)},
		{Namespace: "shop", Pod: "cart-2", Verdict: diagnose.Scraped, Target: target("other", 2*time.Second, 20, 1000,
			50)},
	}}
}

func same(text string) string { return text }

func answerOf(report diagnose.Report) *Answer {
	a := NewAnswer(&report, same)
	for i := range report.Rows {
		a.Pods = append(a.Pods, NewPod(&report.Rows[i], same))
	}
	a.Total = len(a.Pods)
	return &a
}

func TestTable(t *testing.T) {
	report := someRows()
	report.Rows[0].Reason.Sentence, report.Rows[0].Reason.Hint = "nothing listens on 10.0.0.2:15090", "is it up?"
	report.Rows[0].Target.Err = "connection refused"
	report.Rows[3].Reason.Sentence = "every 15s"
	report.Causes = []diagnose.Cause{{Key: "refused", Verdict: diagnose.Down, Words: "nothing listens", Count: 1234,
		Example: "shop/cart-1"}}
	report.Funnels = []diagnose.Funnel{{Job: "mesh", Steps: []diagnose.FunnelStep{
		{Words: "discovered", Left: 2410}, {Words: "rule 1: keep x", Out: 2000, Left: 410}}}}
	report.Notes = []string{"namespace secret may not be listed"}
	var b strings.Builder
	if err := WriteTable(&b, answerOf(report), noon); err != nil {
		t.Fatal(err)
	}
	want := `VERDICT       POD          LAST  TOOK  BYTES  SAMPLES  WHY
DOWN          shop/cart-1  1m    0s    -      -        nothing listens on 10.0.0.2:15090 (is it up?)
NOT A TARGET  pay/api-0    -     -     -      -        
NOT READY     pay/api-1    -     -     -      -        
SCRAPED       shop/cart-0  1.0s  0s    900    100      every 15s
SCRAPED       shop/cart-2  2.0s  0s    1000   50       

Why pods are not scraped, the most frequent cause first:
  1,234 × DOWN: nothing listens
      for example shop/cart-1

Targets of job mesh:
          2,410  discovered
  -2,000    410  rule 1: keep x

Note: namespace secret may not be listed

5 pods: 1 DOWN, 1 NOT A TARGET, 1 NOT READY, 2 SCRAPED.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPodWithEvidence(t *testing.T) {
	since := noon.Add(-14 * time.Minute)
	last := noon.Add(-4 * time.Second)
	p := &Pod{Namespace: "shop", Name: "cart-0", Node: "node-1", IP: "10.0.0.1", Verdict: diagnose.Down,
		Reason: Reason{Sentence: "connect: refused", Hint: "is the port right?", Job: "mesh", Rule: 2,
			RuleText: "keep x",
			Value:    "http"},
		Target: &Target{Job: "mesh", URL: "http://10.0.0.1:15090/stats/prometheus", LastScrape: &last, Seconds: .012,
			PageBytes: 270336, WireBytes: 5530, Err: "connection refused", FailingSince: &since, Failures: 57,
			SlowedSince: &since, EverySeconds: 60}}
	e := &Evidence{
		Relabeling: []Relabeling{{Job: "mesh", Name: "shop/cart-0 app:9080", Steps: []Step{
			{Rule: 1, Words: "set a to b", Kept: true, Changes: []Change{{Kind: "added", Name: "a", New: "b"},
				{Kind: "changed", Name: "c", Old: "1", New: "2"}, {Kind: "removed", Name: "d", Old: "3"}}},
			{Rule: 2, Words: "keep x"}}}},
		Page: &Page{URL: "http://10.0.0.1:15090/stats/prometheus", Status: "403 Forbidden", Seconds: .003,
			Header: []Header{{"Server", "envoy"}}, Body: "RBAC: \x1b[31maccess denied\n"},
		Now:     []Fact{{"Phase", "Running"}},
		Kubectl: []string{"kubectl get --raw /api/v1/x"},
	}
	var b strings.Builder
	if err := WritePod(&b, p, e, noon); err != nil {
		t.Fatal(err)
	}
	want := `DOWN  shop/cart-0
connect: refused
Hint: is the port right?

Node         node-1
Address      10.0.0.1
Rule         2 of job mesh: keep x; the value was "http"
Target       http://10.0.0.1:15090/stats/prometheus of job mesh
Last scrape  4.0s ago, took 12ms, 264.0 KiB (5.4 KiB sent)
Last error   connection refused
Failing      for 14m, 57 scrapes in a row
Asked        only every 1m since 14m ago, because it is slow to answer

Rules of job mesh on shop/cart-0 app:9080:
  1. set a to b
     added a: "b"
     changed c: "1" to "2"
     removed d
  2. keep x
     dropped here

The page now, http://10.0.0.1:15090/stats/prometheus:
  403 Forbidden after 3ms
  Server: envoy
  | RBAC: \x1b[31maccess denied

The API server says of the pod now:
  Phase  Running

To fetch the page through the API server:
  kubectl get --raw /api/v1/x
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestTextIsHarmless: nothing that a pod or a target says can move the cursor, forge a line or fill the screen.
func TestTextIsHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"a\nSCRAPED  b":      "a SCRAPED  b",
		"\x1b]0;title\a":     `\x1b]0;title\a`,
		"right \u202e left":  `right \u202e left`,
		"bad \xff\xfe utf-8": "bad \ufffd\ufffd utf-8",
		"tab\there\r\x00":    `tab here\r\x00`,
		"Größe ✓":            "Größe ✓",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
	if got := plain(strings.Repeat("x", 10_000)); len(got) > maxText+len("…") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTallyOfAPart(t *testing.T) {
	a := &Answer{Total: 12345, Pods: []Pod{{Verdict: diagnose.Scraped}}}
	if got := tally(a); got != "1 pod of 12,345: 1 SCRAPED." {
		t.Errorf("got %q", got)
	}
	if got := tally(&Answer{}); got != "0 pods." {
		t.Errorf("got %q", got)
	}
}

func TestNumbers(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(1000), "1,000"}, {Count(-1234567), "-1,234,567"}, {Count(-123), "-123"},
		{Bytes(1023), "1023 B"}, {Bytes(1536), "1.5 KiB"}, {Bytes(20 << 20), "20.0 MiB"},
		{Brief(0), "0s"}, {Brief(850 * time.Microsecond), "850µs"}, {Brief(3400 * time.Millisecond), "3.4s"},
		{Brief(5 * time.Minute), "5m"}, {Brief(3*time.Hour + 4*time.Minute), "3h04m"}, {Brief(26 * time.Hour), "1d02h"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

// TestVerdictsOfAnotherProcessStayPlain: an answer of why --url can have any text for a verdict.
func TestVerdictsOfAnotherProcessStayPlain(t *testing.T) {
	evil := diagnose.Verdict("\x1b[2J")
	a := &Answer{Pods: []Pod{{Verdict: evil}}, Causes: []Cause{{Verdict: evil}}}
	var b strings.Builder
	if err := errors.Join(WriteTable(&b, a, time.Time{}), WritePod(&b, &a.Pods[0], nil, time.Time{})); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") || strings.Count(b.String(), `\x1b[2J`) != 4 {
		t.Errorf("got %q", b.String())
	}
}

func TestACommandStandsOnItsOwnLine(t *testing.T) {
	p := &Pod{Namespace: "shop", Name: "cart-0", Verdict: diagnose.Elsewhere, Reason: Reason{
		Sentence: "Shard 1 of 2 scrapes it for job mesh; this is shard 0.",
		Hint:     "That is pod mon/es-1; the command asks it.", Command: "kubectl -n mon exec es-1 -- x"}}
	var b strings.Builder
	if err := WritePod(&b, p, nil, noon); err != nil {
		t.Fatal(err)
	}
	want := "ELSEWHERE  shop/cart-0\nShard 1 of 2 scrapes it for job mesh; this is shard 0.\n" +
		"Hint: That is pod mon/es-1; the command asks it.\n\n  kubectl -n mon exec es-1 -- x\n\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
