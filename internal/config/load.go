package config

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sort"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file"       // registers file_sd_configs
	_ "github.com/prometheus/prometheus/discovery/http"       // registers http_sd_configs
	_ "github.com/prometheus/prometheus/discovery/kubernetes" // registers kubernetes_sd_configs
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// loader has the state of one call of Load.
type loader struct {
	opts     Options
	problems Problems
	env      environment
	global   promconfig.GlobalConfig
	ext      Extension
	extPart  *locate.Part        // the block as written; nil: the file has none
	refused  map[*yaml.Node]bool // values that the decoder refuses; other errors about them are not reported
	extFile  string
	jobs     []*job
	remotes  []*remote
	// globalLimits are the limits that global sets, even to 0.
	globalLimits map[string]bool
}

// job is a job and its position in a file.
type job struct {
	src  *source
	path string
	node *yaml.Node // as written, with environment variables replaced
	line int
	cfg  *promconfig.ScrapeConfig // nil: refused
	// clean is set if the job has no error, so that cfg is complete.
	clean bool
}

// Load reads the configuration that the options name. Its error is of type Problems and has every error and warning.
// Without an error the warnings are in the result.
func Load(o Options) (*Config, error) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if lookup := o.LookupEnv; o.NodeName != "" { // --node-name is as good as the variable
		o.LookupEnv = func(name string) (string, bool) {
			value, ok := lookup(name)
			if value == "" && name == nodeNameVariable {
				return o.NodeName, true
			}
			return value, ok
		}
	}
	l := &loader{opts: o, global: promconfig.DefaultGlobalConfig, ext: DefaultExtension()}
	l.env = environment{lookup: o.LookupEnv, written: map[*yaml.Node]string{}, broken: map[*yaml.Node]bool{}}
	cfg := l.load()
	l.sortProblems()
	if l.problems.Errors() > 0 {
		return nil, l.problems
	}
	cfg.Warnings = l.problems
	return cfg, nil
}

func (l *loader) load() *Config {
	src := l.mainFile()
	if src == nil || !l.normalize(src) {
		return nil
	}
	l.replaceVariables(src)
	l.checkTopLevel(src)
	l.readGlobal(src)
	l.readRuntime(src)
	l.readJobs(src, true)
	l.readJobFiles(src)
	l.checkJobNames()
	l.readRemotes(src)
	l.checkExternalLabels()
	l.checkExtension()
	l.refuseAggregates(src)
	shards := l.shards()
	l.checkKeys(src)
	if l.problems.Errors() > 0 {
		l.checkFiles(src)
		l.warn()
		return nil
	}
	cfg := l.assemble(src)
	if cfg != nil {
		cfg.Shards = shards
		l.lintAggregates(cfg, src)
	}
	return cfg
}

// mainFile parses the file that the options name, or the built-in one.
func (l *loader) mainFile() *source {
	if l.opts.File != "" {
		return l.open(l.opts.File)
	}
	return l.parse(builtinName, ".", builtinFile)
}

// replaceVariables replaces environment variables in the values of a file.
func (l *loader) replaceVariables(src *source) {
	l.env.report = func(n *yaml.Node, path string, p Problem) {
		p.Severity, p.File, p.Line, p.Key = SeverityError, src.name, n.Line, path
		l.add(p)
	}
	l.env.apply(src.root, "", false)
}

func (l *loader) add(p Problem) {
	if p.Severity == "" {
		p.Severity = SeverityError
	}
	l.problems = append(l.problems, p)
}

// sortProblems sorts the problems by line, and files in the order in which they were read.
func (l *loader) sortProblems() {
	order := map[string]int{}
	for _, p := range l.problems {
		if _, ok := order[p.File]; !ok {
			order[p.File] = len(order)
		}
	}
	order[l.opts.File] = -1
	sort.SliceStable(l.problems, func(i, j int) bool {
		a, b := l.problems[i], l.problems[j]
		if a.File != b.File {
			return order[a.File] < order[b.File]
		}
		return a.Line < b.Line
	})
}

// checkTop checks the value of one top-level key.
func (l *loader) checkTop(src *source, key string, value *yaml.Node) *yaml.Node {
	if yamltree.IsEmpty(value) {
		return value
	}
	return l.check(src, "", locate.NewPart(value, key, func(n *yaml.Node) error {
		return yamltree.DecodeStrict(yamltree.Mapping(yamltree.String(key), n), new(promconfig.Config))
	}))
}

func (l *loader) readGlobal(src *source) {
	value := yamltree.Get(src.root, "global")
	if value == nil {
		return
	}
	l.globalLimits = limitsIn(value)
	rest := l.checkTop(src, "global", value)
	if rest == nil {
		return
	}
	var doc promconfig.Config
	if yamltree.DecodeStrict(yamltree.Mapping(yamltree.String("global"), rest), &doc) == nil {
		l.global = doc.GlobalConfig
		l.global.SetDirectory(src.dir) // jobs of other files inherit from it
	}
}

func (l *loader) readRuntime(src *source) {
	if value := yamltree.Get(src.root, "runtime"); value != nil {
		l.checkTop(src, "runtime", value)
	}
}

// automaticGoGC says that nobody has chosen gogc (75 in Prometheus), so that footprint.Memory chooses it.
const automaticGoGC = 0

// assemble passes the file, in which every part was accepted, to prometheus/config, and applies our own defaults and
// flags.
func (l *loader) assemble(src *source) *Config {
	text, err := yaml.Marshal(src.root)
	var prom *promconfig.Config
	if err == nil {
		prom, err = promconfig.Load(string(text), slog.New(warningHandler{l, src.name}))
	}
	if err != nil {
		l.add(Problem{File: src.name, Why: locate.Messages(err)[0], Fix: "correct it"})
		return nil
	}
	prom.SetDirectory(src.dir)
	if _, asked := os.LookupEnv("GOGC"); !asked && yamltree.Get(src.root, "runtime", "gogc") == nil {
		prom.Runtime.GoGC = automaticGoGC
	}
	if l.opts.LogLevel != "" && yamltree.Get(src.root, "runtime", "log_level") == nil {
		prom.Runtime.LogLevel = promconfig.LogLevel(l.opts.LogLevel)
	}
	cfg := &Config{Prometheus: prom, Extension: l.ext, opts: l.opts, writtenCompression: map[string]bool{}}
	if l.opts.File == "" {
		cfg.BuiltinJob = builtinJob
	}
	for i, j := range l.jobs {
		if i < len(prom.ScrapeConfigs) && j.src == src {
			j.cfg = prom.ScrapeConfigs[i]
		} else {
			j.cfg.SetDirectory(j.src.dir)
		}
		l.fillLimits(j.cfg, j.node)
		l.fillKubeconfig(j)
		cfg.Jobs = append(cfg.Jobs, j.cfg)
		cfg.writtenCompression[j.cfg.JobName] = yamltree.Get(j.node, "enable_compression") != nil
	}
	l.nodeLocal()
	l.checkFiles(src)
	l.warn()
	if l.opts.SelfScrape {
		l.addSelf(cfg)
	}
	l.remoteWrite(cfg, src)
	l.lintShards(l.applyDelays(cfg, src))
	l.notePushDown(cfg)
	return cfg
}

// warningHandler converts warnings of prometheus/config to problems.
type warningHandler struct {
	l    *loader
	file string
}

func (w warningHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (w warningHandler) Handle(_ context.Context, r slog.Record) error {
	var name string
	r.Attrs(func(a slog.Attr) bool { name = a.Value.String(); return false })
	w.l.add(Problem{Severity: SeverityWarning, File: w.file, Key: "global.external_labels",
		Why: r.Message + ": " + name, Fix: "set it, or write $$ for a dollar sign"})
	return nil
}

func (w warningHandler) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warningHandler) WithGroup(string) slog.Handler      { return w }

// absolute returns the absolute path, which does not depend on the directory of a file.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// labelScheme returns the rules for valid label names.
func (l *loader) labelScheme() model.ValidationScheme {
	return l.global.MetricNameValidationScheme
}
