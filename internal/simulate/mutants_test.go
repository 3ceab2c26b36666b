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
type mutant struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

func mutants() []mutant {
	one := func(name, file, old, new string) mutant { return mutant{name, []edit{{file, old, new}}} }
	return []mutant{
		one("a marker is forgotten after a reload", "scrape/loop.go",
			"l.live, l.ages, l.stamps, l.scraped, l.traits = old.live, old.ages, old.stamps, old.scraped, old.traits",
			"l.ages, l.stamps, l.scraped, l.traits = old.ages, old.stamps, old.scraped, old.traits"),
		one("a failed scrape marks nothing", "scrape/loop.go", "markMissing(b, l.live, shown)", "_ = shown"),
		one("a target that is gone gets no markers for its report", "scrape/loop.go", "l.report.end(b)\n", ""),
		one("a target that is gone gets markers for its report only", "scrape/loop.go", "markAll(b, l.live)\n", ""),
		one("vanished series are marked only if the page grew", "scrape/loop.go",
			"} else if !c.Unchanged || !l.page.Shows(l.live) {", "} else if c.Added > 0 {"),
		one("series that a bad page showed are forgotten", "scrape/loop.go", "l.live = shown\n",
			"l.live = exposition.Shown{}\n"),
		one("series of a page are released twice", "scrape/loop.go", "\t\tl.live.Release()\n",
			"\t\tl.live.Release()\n\t\tl.live.Release()\n"),
		one("a target that is gone keeps its series", "scrape/loop.go", "\tl.live.Release()\n\tl.ages", "\tl.ages"),
		one("Retry-After is ignored", "remotewrite/deliver/attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {", "if quiet := s.receiver.quiet(); quiet < 0 {"),
		one("a division drops its last part", "remotewrite/deliver/isolate.go",
			"for len(d.parts) > 0 {", "for len(d.parts) > 1 {"),
		one("a request that failed is dropped after a minute", "remotewrite/deliver/attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {",
			"if t.made > 12 {\n\t\t\treturn verdict{}\n\t\t}\n\t\tif quiet := s.receiver.quiet(); quiet > 0 {"),
		one("503 is taken for success", "remotewrite/deliver/answer.go",
			"case a.Err != nil || a.Status >= 500:",
			"case a.Status == 503:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"),
		one("a lost answer is taken for success", "remotewrite/deliver/answer.go",
			"case a.Err != nil || a.Status >= 500:",
			"case a.Err != nil && !a.Unsent:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"),
		one("a group is acknowledged before it is delivered", "remotewrite/deliver/sender.go",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\treturn // still queued\n\t\t\t}",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\ts.lane.Ack(group)\n\t\t\t\treturn\n\t\t\t}"),
		one("of streams that do not fit together the first is forgotten", "remotewrite/deliver/sender.go",
			"if !most.allow(p.size.with(z)) && !s.deliverNext(ctx, p, most) {",
			"if !most.allow(p.size.with(z)) {\n\t\tp.reset()\n\t}\n\tif false {"),
		one("requests of fragments are not sent", "remotewrite/deliver/sender.go",
			"return s.deliverNext(ctx, &s.columns, most) && s.deliverNext(ctx, &s.fragments, most)",
			"return s.deliverNext(ctx, &s.columns, most)"),
		one("a refused record is not counted", "remotewrite/pack/lane.go", "t.QueueRefused += r.Samples\n", ""),
		one("samples that are not newer are sent", "remotewrite/pack/append.go",
			"case !t.accepts(v, r.id, b.Time):", "case false && !t.accepts(v, r.id, b.Time):"),
		one("write_relabel_configs are ignored", "remotewrite/pack/append.go",
			"if len(s.WriteRelabelConfigs) > 0 {", "if len(s.WriteRelabelConfigs) > 99 {"),
	}
}

// TestMutantsFit: the texts that mutants change are there, each once.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) { m.texts(t) })
	}
}

// TestSimulationFindsMutants: with each mistake the simulation fails, within the seeds of CI. It compiles the product
// for each, so it runs only with SIMULATE_MUTANTS=1.
func TestSimulationFindsMutants(t *testing.T) {
	if os.Getenv("SIMULATE_MUTANTS") != "1" {
		t.Skip("SIMULATE_MUTANTS=1 runs it; it takes minutes")
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-timeout=20m", "-overlay", m.overlay(t),
				"-run", "^TestSeeds$", "-v", ".")
			cmd.Env = append(os.Environ(), "SIMULATE_MUTANTS=", "SIMULATE_SEED=1", "SIMULATE_SHORTEST=0",
				"SIMULATE_SECONDS="+cmp.Or(os.Getenv("SIMULATE_SECONDS"), "300"))
			out, err := cmd.CombinedOutput()
			text := string(out)
			switch {
			case strings.Contains(text, "build failed"):
				t.Fatalf("it does not compile:\n%s", text)
			case err == nil:
				t.Error("the simulation passes")
			default:
				t.Logf("found after %d seeds: %s", strings.Count(text, "simulated seconds per second"),
					firstProblem(text))
			}
		})
	}
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

// overlay writes the changed files, and returns the file that names them for the go command.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{}
	for name, text := range m.texts(t) {
		path, err := filepath.Abs(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		files[path] = to
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// texts returns the changed files, by name.
func (m mutant) texts(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, e := range m.edits {
		if _, ok := texts[e.file]; !ok {
			text, err := os.ReadFile(filepath.Join("..", e.file))
			if err != nil {
				t.Fatal(err)
			}
			texts[e.file] = string(text)
		}
		if n := strings.Count(texts[e.file], e.old); n != 1 {
			t.Fatalf("%s has %d times %q, want once", e.file, n, e.old)
		}
		texts[e.file] = strings.Replace(texts[e.file], e.old, e.new, 1)
	}
	return texts
}
