package main

import (
	"runtime"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"

	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// The pages and /metrics show the following about the program.

// newRegistry returns a registry with the metrics of the Go runtime, of the process and of the build.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("envoy_scraper"),
	)
	return reg
}

// build is the version of the program, as the linker wrote it into the binary.
func build() web.Build {
	return web.Build{
		Version: version.Version, Revision: version.Revision, Branch: version.Branch,
		BuildUser: version.BuildUser, BuildDate: version.BuildDate, GoVersion: runtime.Version(),
	}
}

// flagValues returns the value of every flag of the run command, by the name of the flag.
func flagValues(app *kingpin.Application) map[string]string {
	values := map[string]string{}
	for _, f := range app.GetCommand("run").Model().Flags {
		if f.Name != "help" {
			values[f.Name] = f.Value.String()
		}
	}
	return values
}
