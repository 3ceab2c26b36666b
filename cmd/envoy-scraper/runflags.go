package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// runFlags are the flags of the run command.
type runFlags struct {
	config *configFlags
	via    *viaFlags

	autoReload         bool
	autoReloadInterval time.Duration
	storagePath        string
	ephemeral          bool
	flushDeadline      time.Duration
	allowLoopback      bool
	scrapeMemory       units.Base2Bytes

	listenAddress   string
	webConfigFile   string
	enableLifecycle bool
	enablePprof     bool

	memoryRatio float64
	logLevel    string
	logFormat   string
}

func addRunFlags(cmd *kingpin.CmdClause) *runFlags {
	f := &runFlags{config: addConfigFlags(cmd), via: addViaFlags(cmd, via.Direct)}
	f.config.addContext(cmd)
	f.via.addViaLimit(cmd)
	cmd.Flag("config.auto-reload", "Reload the configuration when its file, or a file that it includes, has changed.").
		BoolVar(&f.autoReload)
	cmd.Flag("config.auto-reload-interval", "How often to check for changes of the file.").
		Default("30s").DurationVar(&f.autoReloadInterval)
	cmd.Flag("storage.path", "Directory of the queues: samples that are not delivered yet. They survive a crash and "+
		"an outage of the receiver. Each process needs its own directory. Empty: queue in memory only.").
		Default("./data").PlaceHolder("./data").StringVar(&f.storagePath)
	cmd.Flag("storage.agent.path", "The same as --storage.path, by the name that it has in Prometheus' agent.").
		Hidden().StringVar(&f.storagePath)
	cmd.Flag("storage.ephemeral", "The storage directory is deleted with the process, like an emptyDir with its pod. "+
		"A stop then also waits for endpoints that are down, and counts the samples that are lost.").
		BoolVar(&f.ephemeral)
	cmd.Flag("storage.remote.flush-deadline", "How long a stop may take to deliver queued samples.").
		Default("4s").PlaceHolder("4s").DurationVar(&f.flushDeadline)
	cmd.Flag("scrape.allow-loopback", "Allow targets with loopback addresses from discoveries other than static lists "+
		"and files.").
		BoolVar(&f.allowLoopback)
	cmd.Flag("scrape.max-memory", "Memory for pages that are read concurrently, 128KiB each. It limits concurrent "+
		"scrapes: further scrapes wait, within their timeout. Default: a quarter of the memory limit, or 256MiB "+
		"without a limit.").
		PlaceHolder("SIZE").BytesVar(&f.scrapeMemory)
	cmd.Flag("web.listen-address", "Address of the pages, metrics and health checks. Port 0 takes a free port.").
		Default("127.0.0.1:9095").StringVar(&f.listenAddress)
	cmd.Flag("web.config.file", "File with TLS and authentication for the pages, in the format of Prometheus' "+
		"exporter-toolkit.").
		PlaceHolder("FILE").StringVar(&f.webConfigFile)
	cmd.Flag("web.enable-lifecycle", "Allow POST /-/reload.").
		BoolVar(&f.enableLifecycle)
	cmd.Flag("web.enable-pprof", "Serve profiles of the process at /debug/pprof/ to everyone who can reach the pages.").
		BoolVar(&f.enablePprof)
	cmd.Flag("memory.limit-ratio", "Share of the container's memory limit that is Go's memory limit, unless "+
		"GOMEMLIMIT is set. 0: no limit.").
		Default("0.9").Float64Var(&f.memoryRatio)
	cmd.Flag("log.level", "Lowest level of messages to log.").
		Default("info").EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	cmd.Flag("log.format", "Format of log lines.").
		Default("console").EnumVar(&f.logFormat, "console", "json")
	return f
}

// options returns the flags as config.Load takes them.
func (f *runFlags) options() config.Options {
	opts := f.config.options()
	opts.ListenAddress, opts.FlushDeadline, opts.LogLevel = f.listenAddress, f.flushDeadline, f.logLevel
	opts.Ephemeral = f.ephemeral
	return opts
}

// settings returns the flags as agent.Open takes them.
func (f *runFlags) settings(cfg *config.Config) agent.Settings {
	s := agent.Settings{
		Config: cfg, Options: f.options(), StoragePath: f.storagePath, AllowLoopback: f.allowLoopback,
		ScrapeMemory: scrapeMemory(int64(f.scrapeMemory)), ViaLimits: f.via.limits, Web: f.webConfig(),
	}
	if f.autoReload {
		s.AutoReload = f.autoReloadInterval
	}
	return s
}

func (f *runFlags) webConfig() web.Config {
	return web.Config{
		ListenAddress: f.listenAddress, WebConfigFile: f.webConfigFile,
		EnableLifecycle: f.enableLifecycle, EnablePprof: f.enablePprof,
	}
}

// minScrapeMemory is enough for eight concurrent pages.
const minScrapeMemory = units.MiB

// values checks the range of each flag.
func (f *runFlags) values() error {
	switch {
	case f.autoReloadInterval <= 0:
		return fmt.Errorf("--config.auto-reload-interval: %v: give more than 0s, such as 30s", f.autoReloadInterval)
	case f.flushDeadline < 0:
		return fmt.Errorf("--storage.remote.flush-deadline: %v: give 0s or more, such as 4s", f.flushDeadline)
	case f.scrapeMemory != 0 && f.scrapeMemory < minScrapeMemory:
		return fmt.Errorf("--scrape.max-memory: %v: give %v or more, such as 64MiB", f.scrapeMemory, minScrapeMemory)
	case !(f.memoryRatio >= 0 && f.memoryRatio <= 1): // also false for NaN
		return fmt.Errorf("--memory.limit-ratio: %v: give a share from 0 to 1, such as 0.9", f.memoryRatio)
	}
	return f.via.values()
}

// check checks flags that depend on each other.
func (f *runFlags) check() error {
	asks, err := web.Protection(f.webConfigFile)
	if err == nil && asks != "" && f.config.selfScrape {
		err = fmt.Errorf("--self-scrape cannot read pages for which --web.config.file asks for %s: write a job for "+
			"them, with its scheme, "+
			"tls_config and credentials, and leave --self-scrape out", asks)
	}
	return err
}
