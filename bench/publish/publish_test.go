package publish

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// TestDocumentsShowTheKeptFigures fails when a table or the picture was edited by hand, or a file of figures changed
// without the documents.
func TestDocumentsShowTheKeptFigures(t *testing.T) {
	documents, err := Documents("../..")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range documents {
		if os.Getenv("GOLDEN") != "" {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s does not show the figures of bench/figures: run GOLDEN=1 go test ./publish in bench", file)
		}
	}
}

// TestAllFiguresAreOfOneBuild: README and docs/performance.md speak of one commit.
func TestAllFiguresAreOfOneBuild(t *testing.T) {
	s, err := Read("../figures/S.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, fleet := range otherFleets {
		name := fleet.name
		f, err := Read("../figures/" + name + ".json")
		if fleet.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Commit != s.Commit {
			t.Errorf("fleet %s is of commit %s, fleet S of %s: measure both with one build", name, f.Commit, s.Commit)
		}
	}
}

// report is one of fleet S in which each agent delivered everything.
func report() runner.Report {
	r := runner.Report{Date: "2026-11-29T08:00:00Z", Cores: 2, Machine: "CPU linux/amd64"}
	r.Interval, r.Warmup = "10s", "40s"
	window := func(cpu float64, anonymousMiB int64) runner.Window {
		return runner.Window{
			Seconds: 60, DeliveredPerDue: 1, CPUPerMillion: cpu,
			AnonymousMedian: anonymousMiB << 20, RSSMedian: (anonymousMiB + 10) << 20, FileMedian: 10 << 20,
		}
	}
	shape := fleet.DefaultConfig()
	shape.Targets, shape.Series = 200, 2000
	for i, name := range order {
		r.Rows = append(r.Rows, runner.Row{
			Name: name, Peer: !strings.HasPrefix(name, "envoy"), Fleet: shape, WarmupCPU: 5,
			Windows: []runner.Window{window(float64(i)+0.5, 20), window(float64(i)+0.7, 24),
				window(float64(i)+0.6, 22)},
		})
	}
	return r
}

func TestFromReport(t *testing.T) {
	f, err := FromReport(report(), "S", "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	a := f.Agents[0]
	if len(f.Agents) != 4 || a.CPU != 0.6 || a.CPULow != 0.5 || a.CPUHigh != 0.7 ||
		a.AnonymousMiB != 22 || a.RSSMiB != 32 {
		t.Errorf("figures %+v, want the medians of three windows for four agents", f.Agents)
	}
	want := "make bench FLEET=S AGENTS=envoy-scraper-2.0,envoy-scraper-1.0,vmagent,prometheus-2.0"
	if f.Command != want {
		t.Errorf("command %q, want %q", f.Command, want)
	}
	if want = "200 sidecars with 2,000 series each, every 10 s"; f.Fleet != want {
		t.Errorf("fleet %q, want %q", f.Fleet, want)
	}
}

func TestFromReportRefusesWhatDocumentsShouldNotShow(t *testing.T) {
	for name, tc := range map[string]struct {
		fleet, commit string
		change        func(*runner.Report)
		want          string
	}{
		"uncommitted changes": {"S", "abc1234-dirty", nil, "not committed"},
		"another fleet":       {"", "abc1234", nil, "documents show S, L, M, N and XL"},
		"a missing agent":     {"S", "abc1234", func(r *runner.Report) { r.Rows = r.Rows[:3] }, "prometheus-2.0 is"},
		"lost samples":        {"S", "abc1234", func(r *runner.Report) { r.Rows[0].Lost = 1 }, "but not received"},
		"few windows":         {"S", "abc1234", func(r *runner.Report) { r.Rows[1].Windows = nil }, "0 windows of 0 s"},
		"other pages":         {"S", "abc1234", func(r *runner.Report) { r.Rows[2].Fleet.Churn = 0.05 }, "BENCH_FLAGS"},
	} {
		t.Run(name, func(t *testing.T) {
			r := report()
			if tc.change != nil {
				tc.change(&r)
			}
			if _, err := FromReport(r, tc.fleet, tc.commit); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestReplaceBlock(t *testing.T) {
	const marker = "<!-- make bench FLEET=S writes this: "
	const text = "a\n" + marker + "begin -->\nold\n" + marker + "end -->\nb\n"
	got, err := replaceBlock(text, fleetMarker("S"), "new\n")
	if want := strings.Replace(text, "old", "new", 1); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := replaceBlock(text, fleetMarker("L"), "new\n"); err == nil {
		t.Error("no error where the markers are missing")
	}
}

// copyOfDocuments returns the root of a copy of all documents and figures.
func copyOfDocuments(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, name := range []string{
		"README.md", "docs/performance.md", "docs/images/cost.svg",
		"bench/figures/S.json", "bench/figures/L.json", "bench/figures/M.json",
		"bench/figures/N.json", "bench/figures/XL.json",
	} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if errors.Is(err, fs.ErrNotExist) && slices.Contains([]string{"N.json", "XL.json"}, filepath.Base(name)) {
			continue
		}
		if err == nil {
			to := filepath.Join(root, name)
			err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestWriteChangesOnlyTheBlocks runs on a copy of the documents.
func TestWriteChangesOnlyTheBlocks(t *testing.T) {
	root := copyOfDocuments(t)
	f, err := FromReport(report(), "S", "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(root, "S", f); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Commit abc1234", "| envoy-scraper (remote write 2.0) | 0.60 | 22.0 MiB | 32.0 MiB |", "\n# envoy-scraper\n",
	} {
		if !strings.Contains("\n"+string(text), want) {
			t.Errorf("README lacks %q", want)
		}
	}
}

// TestAFleetThatIsMeasuredForTheFirstTime: its table comes with the sentence that introduces it, and before that the
// document has neither.
func TestAFleetThatIsMeasuredForTheFirstTime(t *testing.T) {
	root := copyOfDocuments(t)
	const head = "A node's agent"
	performance := filepath.Join(root, "docs/performance.md")
	if err := os.RemoveAll(figuresFile(root, "N")); err != nil {
		t.Fatal(err)
	}
	documents, err := Documents(root)
	if err != nil || strings.Contains(documents[performance], head) {
		t.Fatalf("%v; want no sentence about a fleet that was not measured", err)
	}
	f, err := FromReport(report(), "N", "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(root, "N", f); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(performance)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{head, "Measure it again: `make bench FLEET=N", "| read calls | 0.00 (0.00/s) |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document lacks %q", want)
		}
	}
}

func TestCountsTable(t *testing.T) {
	r := report()
	for i := range r.Rows {
		for n := range r.Rows[i].Windows {
			r.Rows[i].Windows[n].PerScrape.ReadCalls = float64(i + n)
			r.Rows[i].Windows[n].PerSecond.ReadCalls = float64(100 * (i + n))
		}
	}
	f, err := FromReport(r, "S", "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	const want = "| read calls | 1.00 (100/s) | 2.00 (200/s) | 3.00 (300/s) | 4.00 (400/s) |\n"
	text := f.fullTable()
	if !strings.Contains(text, want) || !strings.Contains(text, "| for each scrape (per second) |") {
		t.Errorf("no line %q in\n%s", want, text)
	}
	f.Agents[1].Counts = nil // figures that were kept before calls were counted
	if text = f.fullTable(); strings.Contains(text, "for each scrape") {
		t.Errorf("a table of calls that were not counted:\n%s", text)
	}
}

func TestThePictureIsXML(t *testing.T) {
	f, err := FromReport(report(), "S", "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(f.bars()))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestShareAndMiB(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{share(0.76, 7.11), "1/9.4"}, {share(7.11, 7.11), "1"}, {share(7.78, 7.11), "1.1"},
		{share(1199, 83.9), "14"}, {share(1, 0), "–"},
		{mib(23.54), "23.5"}, {mib(139.2), "139"}, {mib(1199), "1,199"}, {mib(0), "–"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
