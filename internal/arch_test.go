// Package internal_test holds the architecture as tests: which package may import which, how long a file may get,
// and what appears nowhere. A package that wants a new edge changes the table in the same commit and says why.
package internal_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

const (
	module      = "github.com/envoy-scraper/envoy-scraper/"
	ours        = module + "internal/"
	mostLines   = 500 // of a file that is not a test; the aim is 400
	mainLines   = 60
	mostColumns = 120
	wiringName  = "internal/agent/agent.go"
	mainName    = "cmd/envoy-scraper/main.go"
	wiring      = 150
)

// allowed is the architecture: what each package may import of ours.
var allowed = map[string][]string{
	"footprint": {}, "hashindex": {}, "queue/filesystem": {}, "relabel": {}, "kubeconfig": {}, "shard": {},
	"history":    {},
	"chance":     {},
	"mutants":    {},
	"queue":      {"queue/filesystem", "simulate/disk"}, // disk: in tests
	"discovery":  {"chance", "envoy", "kubeconfig"},     // Istio's names; contexts, in errors
	"series":     {"hashindex"},
	"exposition": {"hashindex", "series"},
	"rawsocket":  {},
	"scrape": {
		"envoy", "pushdown", "hashindex", "series", "exposition", "discovery", "rawsocket", "shard", "via",
	},
	"aggregate": {"series", "mutants"},         // mutants: in tests
	"via":       {"discovery"},                 // its client of an API server
	"podlookup": {"config/hint", "kubeconfig"}, // hint: nearest names
	"remotewrite": {
		"chance", "series", "queue", "remotewrite/deliver", "remotewrite/pack", "remotewrite/wire",
		"remotewrite/wire/wiretest",
	},
	"remotewrite/pack":          {"hashindex", "series", "queue", "remotewrite/wire"},
	"remotewrite/deliver":       {"chance", "queue", "rawsocket", "remotewrite/wire"},
	"remotewrite/wire":          {"series", "remotewrite/wire/wiretest"}, // wiretest: in tests
	"remotewrite/wire/wiretest": {"series"},
	"config": {
		"config/hint", "config/lint", "config/locate", "config/problem", "config/yamltree",
		"aggregate", "envoy", "queue", "remotewrite", "scrape", "shard", // envoy: the path of its page
	},
	"config/lint":     {"config/hint", "config/problem", "config/yamltree"},
	"config/locate":   {"config/yamltree"},
	"config/hint":     {},
	"config/problem":  {},
	"config/yamltree": {},
	"envoy":           {},
	"pushdown":        {},
	"diagnose":        {"discovery", "envoy", "relabel", "scrape", "shard"}, // shard: in tests
	"diagnose/show":   {"diagnose", "config/hint", "podlookup"},             // distance of names; words for kinds
	// aggregate: its blocks; discovery: names of workloads; envoy: ports; pushdown: what a rule saves at the sidecar
	"cost": {"aggregate", "envoy", "exposition", "pushdown", "scrape", "series", "discovery"},
	// The simulation is imported by tests only, see TestProductNeverImportsTheSimulation.
	"simulate/faultlist": {},
	"simulate/onecpu":    {},
	"simulate/network":   {"chance", "simulate/faultlist", "simulate/onecpu"}, // onecpu: in tests
	"simulate/disk":      {"queue/filesystem", "simulate/faultlist"},
	"simulate/sidecar":   {"chance", "simulate/faultlist", "simulate/network"},
	"simulate/apiserver": {"chance", "simulate/faultlist", "simulate/network"}, // network: in tests
	"simulate/cluster":   {"chance", "simulate/apiserver", "simulate/network", "simulate/sidecar"},
	"simulate/receiver":  {"simulate/faultlist"},
	"simulate/oracle":    {"simulate/receiver", "simulate/sidecar"},
	"simulate": {
		"agent", "chance", "config", "mutants", "scrape", "simulate/apiserver", "simulate/cluster", "simulate/disk",
		"simulate/network", "simulate/onecpu", "simulate/oracle", "simulate/receiver", "simulate/sidecar", "via", "web",
		// scrape: the status that pages show
	},
	// web reads their Status() and the lines of history, shows reports of diagnose, and asks cost for reports
	"web": {
		"aggregate", "config", "cost", "diagnose", "diagnose/show", "discovery", "envoy", "history", "relabel",
		"scrape", "remotewrite",
	},
	// agent connects them all
	"agent": {
		"aggregate", "chance", "config", "cost", "diagnose", "diagnose/show", "discovery", "history", "queue",
		"relabel", "remotewrite", "scrape", "series", "via", "web",
	},
}

// TestImportsPointDown reads the files itself instead of asking `go list`: the test cache sees what a test opens,
// but not what another program does, and would answer "ok (cached)".
func TestImportsPointDown(t *testing.T) {
	for _, problem := range importProblems(t, os.DirFS("..")) {
		t.Error(problem)
	}
}

func TestImportRuleSeesEveryKindOfEdge(t *testing.T) {
	const good = "internal/scrape/pool.go"
	for name, tc := range map[string]struct {
		file, source string
		want         string // part of the only problem; empty: none
	}{
		"allowed":   {file: good, source: importing(ours + "series")},
		"of others": {file: good, source: importing("github.com/prometheus/prometheus/config")},
		"upwards":   {file: good, source: importing(ours + "web"), want: "scrape may not import web"},
		"neighbour": {file: good, source: importing(ours + "remotewrite"),
			want: "scrape may not import remotewrite"},
		"in a test": {file: "internal/queue/queue_test.go", source: importing(ours + "series"),
			want: "queue may not import series"},
		"renamed": {file: good, source: "package scrape\nimport w \"" + ours + "web\"\n",
			want: "scrape may not import web"},
		"for its effects": {file: good, source: "package scrape\nimport _ \"" + ours + "web\"\n",
			want: "scrape may not import web"},
		"package below": {file: good, source: importing(ours + "series/arena"),
			want: "scrape may not import series/arena"},
		"not in the table": {file: "internal/util/x.go", source: "package util\n", want: "util is not in the table"},
		"nested, not listed": {file: "internal/scrape/fake/x.go", source: "package fake\n",
			want: "scrape/fake is not in the table"},
		"of cmd": {file: good, source: importing(module + "cmd/envoy-scraper"), want: "scrape may not import " +
			module + "cmd"},
		"of a test bed": {file: good, source: importing(module + "e2e/mesh"), want: "scrape may not import " + module +
			"e2e"},
		"from cmd": {file: "cmd/envoy-scraper/main.go", source: importing(ours + "web")},
		"testdata": {file: "internal/scrape/testdata/x.go", source: importing(ours + "web")},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{tc.file: {Data: []byte(tc.source)}}
			if tc.file != wiringName {
				tree[wiringName] = &fstest.MapFile{Data: []byte("package agent\n")}
			}
			got := importProblems(t, tree)
			switch {
			case tc.want == "" && len(got) != 0:
				t.Errorf("problems = %q, want none", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("problems = %q, want one with %q", got, tc.want)
			}
		})
	}
}

// TestProductNeverImportsTheSimulation: only tests and the simulation itself import it; only tests import mutants.
func TestProductNeverImportsTheSimulation(t *testing.T) {
	for _, problem := range simulationImports(t, os.DirFS("..")) {
		t.Error(problem)
	}
}

func TestImportOfTheSimulationIsSeen(t *testing.T) {
	source := []byte(importing(ours + "simulate/network"))
	for file, want := range map[string]int{
		"internal/scrape/pool.go": 1, "cmd/envoy-scraper/run.go": 1, "internal/simulated/x.go": 1,
		"internal/scrape/pool_test.go": 0, "internal/simulate/cluster/cluster.go": 0,
	} {
		got := simulationImports(t, fstest.MapFS{file: {Data: source}})
		if len(got) != want {
			t.Errorf("%s: problems = %q, want %d", file, got, want)
		}
	}
	mutants := fstest.MapFS{"internal/scrape/pool.go": {Data: []byte(importing(ours + "mutants"))}}
	if got := simulationImports(t, mutants); len(got) != 1 {
		t.Errorf("mutants: problems = %q, want 1", got)
	}
}

// simulationImports finds files of the product that import the simulation or mutants.
func simulationImports(t *testing.T, root fs.FS) (problems []string) {
	t.Helper()
	for _, f := range goFiles(t, root) {
		if f.isTest() || strings.HasPrefix(f.path, "internal/simulate/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			name, own := strings.CutPrefix(name, ours)
			if own && (name == "simulate" || name == "mutants" || strings.HasPrefix(name, "simulate/")) {
				problems = append(problems, f.path+" imports "+name+", which is for tests")
			}
		}
	}
	return problems
}

// TestTableNamesNoGhosts fails for a package in the table that has no file, and for an import that no file uses.
func TestTableNamesNoGhosts(t *testing.T) {
	for name := range allowed {
		if files, _ := fs.Glob(os.DirFS(name), "*.go"); len(files) == 0 {
			t.Errorf("package %s is in the table, but has no file", name)
		}
	}
	for _, problem := range unusedEdges(t, os.DirFS("..")) {
		t.Error(problem)
	}
}

func TestUnusedEdgeIsSeen(t *testing.T) {
	tree := fstest.MapFS{}
	for from, tos := range allowed {
		source := "package p\n\nimport (\n"
		for _, to := range tos {
			if from != "web" || to != "config" {
				source += strconv.Quote(ours+to) + "\n"
			}
		}
		tree["internal/"+from+"/x.go"] = &fstest.MapFile{Data: []byte(source + ")\n")}
	}
	got := unusedEdges(t, tree)
	if len(got) != 1 || !strings.Contains(got[0], "web may import config") {
		t.Errorf("problems = %q, want one with web and config", got)
	}
}

func TestFilesStayShort(t *testing.T) {
	for _, f := range goFiles(t, os.DirFS("..")) {
		most := mostLines
		switch {
		case f.isTest():
			continue
		case f.path == mainName:
			most = mainLines
		case f.path == wiringName:
			most = wiring
		}
		if n := bytes.Count(f.source, []byte("\n")); n > most {
			t.Errorf("%s has %d lines, more than %d: one file, one idea", f.path, n, most)
		}
	}
}

// TestLinesStayShort holds lines of code and comments, of the product and of everything around it, to mostColumns. The
// inside of a raw string is as long as what it quotes.
func TestLinesStayShort(t *testing.T) {
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || d.Name() == ".git"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		source, err := fs.ReadFile(root, name)
		for _, problem := range longLines(name, source) {
			t.Error(problem)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLongLinesAreSeen(t *testing.T) {
	long := strings.Repeat("x", mostColumns)
	for name, tc := range map[string]struct {
		source string
		want   int
	}{
		"code":            {source: "package x\n\nvar a = \"" + long + "\"\n", want: 1},
		"comment":         {source: "package x\n\n// " + long + "\n", want: 1},
		"tabs":            {source: "package x\n\nfunc f() {\n\t\t" + long[8:] + "y()\n}\n", want: 1},
		"just fits":       {source: "package x\n\n//" + long[2:] + "\n"},
		"raw string":      {source: "package x\n\nvar a = `\n" + long + "y\n`\n"},
		"runes, not byte": {source: "package x\n\n//" + strings.Repeat("ü", mostColumns-2) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := longLines("x.go", []byte(tc.source)); len(got) != tc.want {
				t.Errorf("problems = %q, want %d", got, tc.want)
			}
		})
	}
}

// longLines finds lines that end beyond mostColumns. A tab is four columns wide.
func longLines(name string, source []byte) (problems []string) {
	fset := token.NewFileSet()
	file := fset.AddFile(name, -1, len(source))
	quoted := map[int]bool{} // lines with a part of a raw string
	var s scanner.Scanner
	s.Init(file, source, nil, 0)
	for pos, kind, text := s.Scan(); kind != token.EOF; pos, kind, text = s.Scan() {
		if kind == token.STRING && text[0] == '`' {
			first := file.Line(pos)
			for n := range strings.Count(text, "\n") + 1 {
				quoted[first+n] = true
			}
		}
	}
	for i, line := range strings.Split(string(source), "\n") {
		columns := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
		if columns > mostColumns && !quoted[i+1] {
			problems = append(problems, fmt.Sprintf("%s:%d: ends at column %d, after %d", name, i+1, columns,
				mostColumns))
		}
	}
	return problems
}

func TestNothingIsDoneAtInit(t *testing.T) {
	for _, f := range goFiles(t, os.DirFS("..")) {
		for _, problem := range banned(t, f) {
			t.Error(problem)
		}
	}
}

func TestBannedIsSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		file, source string
		want         int
	}{
		"init":        {file: "x.go", source: "package x\nfunc init() {}\n", want: 1},
		"method init": {file: "x.go", source: "package x\ntype t int\nfunc (t) init() {}\n"},
		"sleep in a test": {file: "x_test.go", source: "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
			want: 1},
		"fake clock": {file: "x_test.go", source: "package x\nimport \"time\"\nvar _ = synctest.Test(nil, " +
			"func() { time.Sleep(1) })\n"},
		"sleep elsewhere": {file: "x.go", source: "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"},
		"sleep in words":  {file: "x_test.go", source: "package x\n// no time.Sleep(1) here\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := banned(t, goFile{path: tc.file, source: []byte(tc.source)}); len(got) != tc.want {
				t.Errorf("problems = %q, want %d", got, tc.want)
			}
		})
	}
}

type goFile struct {
	path   string // from the module's root
	source []byte
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// goFiles reads every Go file of cmd and internal but those the go command ignores.
func goFiles(t *testing.T, root fs.FS) []goFile {
	t.Helper()
	var files []goFile
	for _, top := range []string{"cmd", "internal"} {
		err := fs.WalkDir(root, top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), "_")):
				return fs.SkipDir
			case d.IsDir() || path.Ext(name) != ".go":
				return nil
			}
			source, err := fs.ReadFile(root, name)
			files = append(files, goFile{path: name, source: source})
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatal("found no Go file: the test looks in the wrong place")
	}
	return files
}

// importProblems is the import rule; the files of cmd may import all of ours.
func importProblems(t *testing.T, root fs.FS) (problems []string) {
	t.Helper()
	var unlisted []string
	for _, f := range goFiles(t, root) {
		from, inside := strings.CutPrefix(path.Dir(f.path), "internal/")
		if !inside {
			continue // cmd, and this file
		}
		may, listed := allowed[from]
		if !listed {
			if !slices.Contains(unlisted, from) {
				unlisted = append(unlisted, from)
				problems = append(problems, fmt.Sprintf("%s: package %s is not in the table of allowed imports", f.path,
					from))
			}
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if to := strings.TrimPrefix(name, ours); strings.HasPrefix(name, module) && to != from &&
				!slices.Contains(may, to) {
				problems = append(problems, fmt.Sprintf("%s: %s may not import %s", f.path, from, to))
			}
		}
	}
	return problems
}

// unusedEdges returns the imports of the table that no file of the package uses.
func unusedEdges(t *testing.T, root fs.FS) (problems []string) {
	t.Helper()
	used := map[string]bool{}
	for _, f := range goFiles(t, root) {
		from := strings.TrimPrefix(path.Dir(f.path), "internal/")
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			used[from+" "+strings.TrimPrefix(strings.Trim(spec.Path.Value, "\""), ours)] = true
		}
	}
	for from, tos := range allowed {
		for _, to := range tos {
			if !used[from+" "+to] {
				problems = append(problems, fmt.Sprintf("%s may import %s, but does not: remove it from the table",
					from, to))
			}
		}
	}
	return problems
}

// isName says whether e is pkg.name.
func isName(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && s.Sel.Name == name
}

// banned finds init functions and, in tests, waiting by the real clock.
func banned(t *testing.T, f goFile) (problems []string) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, f.path, f.source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				problems = append(problems, fmt.Sprintf("%v: func init: nothing is global, let a constructor do it",
					fset.Position(n.Pos())))
			}
		case *ast.CallExpr:
			if isName(n.Fun, "synctest", "Test") {
				return false // its sleeps are the fake clock's
			}
		case *ast.SelectorExpr:
			if f.isTest() && isName(n, "time", "Sleep") {
				problems = append(problems, fmt.Sprintf(
					"%v: time.Sleep in a test: wait for the event, or use testing/synctest", fset.Position(n.Pos())))
			}
		}
		return true
	})
	return problems
}

func importing(name string) string { return "package p\n\nimport \"" + name + "\"\n" }
