package runner

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// Call is how often the agent made a system call while strace counted.
type Call struct {
	Name            string  `json:"name"`
	PerScrape       float64 `json:"per_scrape"`
	PerSecond       float64 `json:"per_second"`
	FailedPerScrape float64 `json:"failed_per_scrape"`
}

// trace counts the agent's system calls by name, for the length of one window. strace stops the agent at each call, so
// this window has no other figures. Where strace cannot count, the row's remark says why.
func (b *bed) trace(ctx context.Context, row *Row) error {
	skip := func(why string) {
		row.Remarks = append(row.Remarks, "no system calls by name: "+strings.TrimSpace(why))
	}
	program, err := exec.LookPath("strace")
	if err != nil {
		skip(err.Error())
		return nil
	}
	log, out := filepath.Join(b.dir, "strace.log"), filepath.Join(b.dir, "strace.txt")
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	var begin, end fleet.Stats
	if err := call(ctx, http.MethodGet, b.fleetURL+"/stats", &begin); err != nil {
		return err
	}
	p, err := start(child{name: "strace", log: log, program: program,
		args: []string{"-f", "-c", "-p", strconv.Itoa(b.agent.pid()), "-o", out}})
	if err != nil {
		return err
	}
	err = b.rest(ctx, b.config.Window)
	took := time.Since(p.begun)
	_, stopped := p.stop() // an error: the signal ends it
	if err != nil {
		return err
	}
	if err := call(ctx, http.MethodGet, b.fleetURL+"/stats", &end); err != nil {
		return err
	}
	text, err := os.ReadFile(out)
	if err == nil {
		row.Calls, err = parseStrace(string(text), float64(end.Scrapes-begin.Scrapes), took.Seconds())
	}
	if err != nil {
		skip(fmt.Sprintf("%v; strace ended (%v) and said %s", err, stopped, tail(log)))
	}
	return nil
}

// allCalls is the name of the sum of all calls.
const allCalls = "all calls"

// parseStrace reads the table that strace -c writes, the most frequent call first, after the sum of all calls:
//
//	% time     seconds  usecs/call     calls    errors syscall
//	------ ----------- ----------- --------- --------- ----------------
//	 49.75    0.001234          12       103         5 futex
func parseStrace(text string, scrapes, seconds float64) (calls []Call, err error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 || len(fields) > 6 || fields[len(fields)-1] == "total" {
			continue
		}
		n, err := strconv.ParseFloat(fields[3], 64)
		if err != nil {
			continue // the heading and the rules
		}
		failed := 0.0
		if len(fields) == 6 {
			if failed, err = strconv.ParseFloat(fields[4], 64); err != nil {
				return nil, fmt.Errorf("errors in %q: %w", line, err)
			}
		}
		calls = append(calls, Call{Name: fields[len(fields)-1], PerScrape: ratio(n, scrapes),
			PerSecond: ratio(n, seconds), FailedPerScrape: ratio(failed, scrapes)})
	}
	if len(calls) == 0 {
		return nil, fmt.Errorf("no calls in %q", text)
	}
	all := Call{Name: allCalls}
	for _, c := range calls {
		all.PerScrape += c.PerScrape
		all.PerSecond += c.PerSecond
		all.FailedPerScrape += c.FailedPerScrape
	}
	calls = append(calls, all)
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(b.PerScrape, a.PerScrape) })
	return calls, nil
}

// callNames returns the names of the calls that some row makes at least once in 100 scrapes, those of the first row
// first.
func callNames(rows []Row) (names []string) {
	for _, row := range rows {
		for _, c := range row.Calls {
			if c.PerScrape >= 0.01 && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// callCell writes how often the row made a call, as 2.34 (46.8/s), 1.20 failed.
func (r Row) callCell(name string) string {
	i := slices.IndexFunc(r.Calls, func(c Call) bool { return c.Name == name })
	if i < 0 {
		return "-"
	}
	c := r.Calls[i]
	text := fmt.Sprintf("%s (%s/s)", short(c.PerScrape), short(c.PerSecond))
	if c.FailedPerScrape > 0 {
		text += ", " + short(c.FailedPerScrape) + " failed"
	}
	return text
}
