package simulate

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is a mistake in the product that the simulation must find: a change of the text of a file of internal.
type mutant struct{ name, file, old, new string }

func mutants() []mutant {
	return []mutant{
		{"a marker is forgotten after a reload", "scrape/loop.go",
			"l.live, l.ages, l.stamps, l.scraped, l.traits = old.live, old.ages, old.stamps, old.scraped, old.traits",
			"l.ages, l.stamps, l.scraped, l.traits = old.ages, old.stamps, old.scraped, old.traits"},
		{"a failed scrape marks nothing", "scrape/loop.go", "markMissing(b, l.live, shown)", "_ = shown"},
		{"a target that is gone gets no markers for its report", "scrape/loop.go", "l.report.end(b)\n", ""},
		{"a target that is gone gets markers for its report only", "scrape/loop.go", "markAll(b, l.live)\n", ""},
		{"vanished series are marked only if the page grew", "scrape/loop.go",
			"} else if !c.Unchanged || !l.page.Shows(l.live) {", "} else if c.Added > 0 {"},
		{"series that a bad page showed are forgotten", "scrape/loop.go", "l.live = shown\n",
			"l.live = exposition.Shown{}\n"},
		{"series of a page are released twice", "scrape/loop.go", "\t\tl.live.Release()\n",
			"\t\tl.live.Release()\n\t\tl.live.Release()\n"},
		{"a target that is gone keeps its series", "scrape/loop.go", "\tl.live.Release()\n\tl.ages", "\tl.ages"},
		{"Retry-After is ignored", "remotewrite/deliver/attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {", "if quiet := s.receiver.quiet(); quiet < 0 {"},
		{"a division drops its last part", "remotewrite/deliver/isolate.go",
			"for len(d.parts) > 0 {", "for len(d.parts) > 1 {"},
		{"a request that failed is dropped after a minute", "remotewrite/deliver/attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {",
			"if t.made > 12 {\n\t\t\treturn verdict{}\n\t\t}\n\t\tif quiet := s.receiver.quiet(); quiet > 0 {"},
		{"503 is taken for success", "remotewrite/deliver/answer.go",
			"case a.Err != nil || a.Status >= 500:",
			"case a.Status == 503:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"},
		{"a lost answer is taken for success", "remotewrite/deliver/answer.go",
			"case a.Err != nil || a.Status >= 500:",
			"case a.Err != nil && !a.Unsent:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"},
		{"a group is acknowledged before it is delivered", "remotewrite/deliver/sender.go",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\treturn // still queued\n\t\t\t}",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\ts.lane.Ack(group)\n\t\t\t\treturn\n\t\t\t}"},
		{"the first of two streams that do not fit into one request is dropped", "remotewrite/deliver/sender.go",
			"if !most.allow(p.size.with(z)) && !s.deliverNext(ctx, p, most) {",
			"if !most.allow(p.size.with(z)) {\n\t\tp.reset()\n\t}\n\tif false {"},
		{"requests of fragments are not sent", "remotewrite/deliver/sender.go",
			"return s.deliverNext(ctx, &s.columns, most) && s.deliverNext(ctx, &s.fragments, most)",
			"return s.deliverNext(ctx, &s.columns, most)"},
		{"a refused record is not counted", "remotewrite/pack/lane.go", "t.QueueRefused += r.Samples\n", ""},
		{"samples that are not newer are sent", "remotewrite/pack/append.go",
			"case !t.accepts(v, r.id, b.Time):", "case false && !t.accepts(v, r.id, b.Time):"},
		{"write_relabel_configs are ignored", "remotewrite/pack/append.go",
			"if len(s.WriteRelabelConfigs) > 0 {", "if len(s.WriteRelabelConfigs) > 99 {"},
	}
}

// TestMutantsFit: the texts that mutants change are there, each once.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) { m.text(t) })
	}
}

// TestSimulationFindsMutants: with each mistake the simulation fails, within the seeds of CI. It compiles the product
// for each, so it runs only with SIMULATE_MUTANTS=1.
func TestSimulationFindsMutants(t *testing.T) {
	if os.Getenv("SIMULATE_MUTANTS") != "1" {
		t.Skip("SIMULATE_MUTANTS=1 runs it; it takes minutes")
	}
	if text, err := testSeeds(); err != nil {
		t.Fatalf("without a mistake: %v\n%s", err, text)
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			text, err := testSeeds("-overlay", m.overlay(t))
			switch {
			case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
				t.Fatalf("it does not compile:\n%s", text)
			case err != nil && !strings.Contains(text, "=== RUN   TestSeeds"):
				t.Fatalf("TestSeeds did not run: %v\n%s", err, text)
			case err == nil:
				t.Error("the simulation passes")
			default:
				t.Logf("found after %d seeds: %s", strings.Count(text, "simulated seconds per second"),
					firstProblem(text))
			}
		})
	}
}

// testSeeds runs TestSeeds in a process of its own, with more arguments for go test, and returns its output.
func testSeeds(more ...string) (string, error) {
	args := append([]string{"test", "-count=1", "-vet=off", "-timeout=20m", "-run", "^TestSeeds$", "-v"}, more...)
	c := exec.Command("go", append(args, ".")...)
	c.Env = append(os.Environ(), "SIMULATE_MUTANTS=", "SIMULATE_SEED=1", "SIMULATE_SHORTEST=0",
		"SIMULATE_SECONDS="+cmp.Or(os.Getenv("SIMULATE_SECONDS"), "300"))
	out, err := c.CombinedOutput()
	return string(out), err
}

// firstProblem returns the first problem in the output of TestSeeds, or the first line of a panic.
func firstProblem(text string) string {
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return l
		}
		if _, what, ok := strings.Cut(l, "_test.go:"); ok && !strings.Contains(l, "simulated seconds per second") {
			return what
		}
	}
	return text
}

// overlay writes the changed file, and returns the file that names it for the go command.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{changed: m.text(t), list: string(overlay)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// text returns the changed file.
func (m mutant) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Fatalf("%s has %d times %q, want once", m.file, n, m.old)
	}
	return strings.Replace(string(text), m.old, m.new, 1)
}
