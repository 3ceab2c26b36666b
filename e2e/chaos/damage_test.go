package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// cutBytes is the number of bytes cut off the end of a file.
const cutBytes = 1000

// A damageCase is one way to damage the queue of a stopped agent.
type damageCase struct {
	name    string
	worst   int  // scrapes that one target may lose; -1: all scrapes in the file
	total   int  // scrapes that all targets may lose together; -1: all scrapes in the file
	repeats bool // samples that were already delivered may be sent again
	do      func(t *testing.T, dir string)
}

// damageCases returns the ways to damage a queue of this many files: each file in turn, or only one. Scrapes are
// columns nearly always, so cutBytes has several of them, and a damaged layout costs those that need it.
func damageCases(files int, each bool) []damageCase {
	const smallest, ofLayout = 60, 64 // bytes of a column with its header; columns that need one copy of a layout
	cut, flip := cutBytes/smallest, ofLayout
	list := []damageCase{
		{name: "none", do: func(*testing.T, string) {}},
		{name: "tail cut by 1 kB", worst: cut, total: cut, do: onFile(0, cutTail)},
		{name: "one bit flipped in the middle", worst: flip, total: flip, do: onFile(0, flipBit)},
		{name: "foreign files", do: addForeign},
		{name: "positions missing", repeats: true, do: everyFile(positions, os.Remove)},
		{name: "positions of noise", repeats: true, do: everyFile(positions, noise)},
		{name: "every file missing", worst: -1, total: -1, do: everyFile(segments, os.Remove)},
		{name: "every file zeroed", worst: -1, total: -1, do: everyFile(segments, zero)},
	}
	if !each {
		files = min(files, 1)
	}
	for i := range files {
		list = append(list,
			damageCase{name: fmt.Sprintf("file %d missing", i), worst: -1, total: -1, do: onFile(i, remove)},
			damageCase{name: fmt.Sprintf("file %d zeroed", i), worst: -1, total: -1,
				do: onFile(i, func(t *testing.T, path string) {
					if err := zero(path); err != nil {
						t.Fatal(err)
					}
				})})
	}
	return list
}

// damage fills a queue during an outage. For each damageCase it starts an agent on a damaged copy of that queue.
func damage(w *world) {
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	w.pause(pick(w.suite, 8*time.Second, 30*time.Second))
	w.terminate()
	w.fleet.Freeze()
	files := segments(w.T, w.storage)
	if len(files) == 0 {
		w.Fatalf("no *.seg below %s, but:\n%s", w.storage, tree(w.storage))
	}
	w.Logf("the queue:\n%s", tree(w.storage))
	for _, i := range damageCases(len(files), !w.suite.short) {
		w.Run(i.name, func(t *testing.T) {
			t.Parallel()
			onDamaged(t, w, i)
		})
	}
}

// onDamaged starts an agent on a damaged copy of the queue, with its own receiver and two live targets.
func onDamaged(t *testing.T, backlog *world, i damageCase) {
	w := newWorld(t, backlog.suite)
	w.delay = backlog.delay
	w.fleet.Freeze() // never scraped
	w.fleet = parts.Fleet(t, w.addresses, 50, 2, series)
	w.receiver.Ledger = backlog.receiver.Ledger.Clone() // samples that arrived before the outage
	if err := os.CopyFS(w.storage, os.DirFS(backlog.storage)); err != nil {
		t.Fatal(err)
	}
	private(t, w.storage)
	i.do(t, w.storage)
	w.start()
	before := agentLog(w.agent)
	old := func() oracle.Verdict { return oracle.Judge(backlog.fleet, w.receiver.Ledger, backlog.ends) }
	gone := 12 * time.Second // after this long without a new sample, the rest is lost
	if i.total == 0 {
		gone = patience
	}
	w.until("the live targets are scraped", func() bool { return w.fleet.Served() >= 4 })
	w.arrive(gone, func() int { return old().Ended() })
	w.drain(20 * time.Second)
	noticed := w.evidence()
	live := w.judge()
	w.terminate()

	v := old()
	t.Logf("backlog: %v; live: %v; counted: %v; noticed: %s", v, live, w.counted, noticed)
	t.Logf("log at start:\n%s\nqueue at the end:\n%s", before, tree(w.storage))
	if live.Served == 0 || live.Ended() > 0 {
		t.Errorf("the live targets: %v", live)
	}
	if i.total >= 0 && (v.Ended() > i.total || v.Worst > max(i.worst, v.InFlight)) {
		t.Errorf("%d scrapes lost, at most %d per target; want %d and %d:\n%s", v.Ended(), v.Worst, i.total, i.worst,
			strings.Join(v.Gaps, "\n"))
	}
	if v.OutOfOrder > 0 || v.Invented > 0 || v.Duplicates > 0 && !i.repeats {
		t.Errorf("%d samples out of order (%s), %d duplicates, %d invented", v.OutOfOrder, v.Example, v.Duplicates,
			v.Invented)
	}
	w.checkExplained(v, 0)
	w.result(v, noticed)
}

// evidence lists the counters of damage that are not zero, and the files that were set aside.
func (w *world) evidence() string {
	w.Helper()
	m := w.metrics()
	var evidence []string
	for _, word := range []string{"corrupt", "damage", "truncated", "torn"} {
		for name, sum := range m.Matching(word) {
			evidence = append(evidence, fmt.Sprintf("%s %v", name, sum))
		}
	}
	err := filepath.WalkDir(w.storage, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".corrupt") {
			evidence = append(evidence, "kept aside: "+d.Name())
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(evidence)
	return strings.Join(slices.Compact(evidence), ", ")
}

// onFile applies a change to the i-th biggest file of the queue.
func onFile(i int, change func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		files := segments(t, dir)
		if i >= len(files) {
			t.Fatalf("%d files, wanted the %d.", len(files), i+1)
		}
		change(t, files[i])
	}
}

func everyFile(list func(*testing.T, string) []string, change func(string) error) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		files := list(t, dir)
		if len(files) == 0 {
			t.Fatal("there is no such file")
		}
		for _, path := range files {
			if err := change(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func cutTail(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, max(0, info.Size()-cutBytes)); err != nil {
		t.Fatal(err)
	}
}

func flipBit(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0x10
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// zero overwrites a file with zeros.
func zero(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, make([]byte, info.Size()), 0o600)
}

// noise overwrites a file with bytes that are not a valid position.
func noise(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Repeat("\xa5", int(info.Size()))), 0o600)
}

// addForeign puts files that do not belong to the queue beside every segment.
func addForeign(t *testing.T, dir string) {
	t.Helper()
	for _, path := range segments(t, dir) {
		folder := filepath.Dir(path)
		for name, content := range map[string]string{
			"notes.txt": "a note", "99999999999999999999.seg": "not a segment", "zzz.seg": "", ".hidden": "x",
		} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(folder, "folder.seg"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// private sets the permissions of a copied queue to those that the agent uses.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tree returns the files below a folder with their sizes.
func tree(dir string) string {
	var lines []string
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { // unreadable files are left out
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				lines = append(lines, fmt.Sprintf("%s %d", strings.TrimPrefix(path, dir), info.Size()))
			}
		}
		return nil
	})
	return strings.Join(lines, "\n")
}

// agentLog returns the end of the agent's log so far.
func agentLog(a *agent.Agent) string { return tail(a.Process.Log()) }
