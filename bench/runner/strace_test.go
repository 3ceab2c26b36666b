package runner

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

const straceTable = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 49.75    0.001234          12       100        40 read
 30.00    0.001000          10       300           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.002234           5       400        40 total
`

func TestParseStrace(t *testing.T) {
	calls, err := parseStrace(straceTable, 20, 10)
	want := []Call{
		{Name: allCalls, PerScrape: 20, PerSecond: 40, FailedPerScrape: 2},
		{Name: "write", PerScrape: 15, PerSecond: 30},
		{Name: "read", PerScrape: 5, PerSecond: 10, FailedPerScrape: 2},
	}
	if err != nil || !slices.Equal(calls, want) {
		t.Errorf("calls = %+v, %v; want %+v", calls, err, want)
	}
	for _, bad := range []string{"", "strace: attach: Operation not permitted\n"} {
		if _, err := parseStrace(bad, 1, 1); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestCallsInTheReport(t *testing.T) {
	ours, peer := measured("ours", 1, 1), measured("peer", 1, 1)
	ours.Calls, peer.Calls = []Call{{"read", 5, 10, 2}, {"gettid", 0.009, 1, 0}}, []Call{{"epoll_pwait", 1, 2, 0}}
	text := written(t, Report{Rows: []Row{ours, peer}})
	for _, want := range []string{
		"| strace: read | 5.00 (10.0/s), 2.00 failed | - |", "| strace: epoll_pwait | - | 1.00 (2.00/s) |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "gettid") {
		t.Errorf("a call that hardly happens is in\n%s", text)
	}
}

// TestStrace needs a strace that may attach; without one, the report must say why there are no calls.
func TestStrace(t *testing.T) {
	t.Parallel()
	c := posterConfig(t, fleet.Page{})
	c.Strace = true
	report, err := Run(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	row := report.Rows[0]
	if len(row.Calls) == 0 && !strings.Contains(strings.Join(row.Remarks, "\n"), "no system calls by name: ") {
		t.Errorf("calls %v, remarks %q; want one of them", row.Calls, row.Remarks)
	}
	if row.Lost != 0 {
		t.Errorf("lost %d samples", row.Lost)
	}
}

func TestStraceThatCannotAttachIsARemark(t *testing.T) {
	c := posterConfig(t, fleet.Page{})
	tools := t.TempDir()
	const script = "#!/bin/sh\necho 'strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(tools, "strace"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs a shell")
	}
	t.Setenv("PATH", tools+string(filepath.ListSeparator)+os.Getenv("PATH"))
	c.Strace = true
	report, err := Run(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(report.Rows[0].Remarks, "\n"); !strings.Contains(got, "Operation not permitted") {
		t.Errorf("remarks = %q, want what strace said", got)
	}
}
