// Command demo runs everything that envoy-scraper needs and envoy-scraper itself on this machine: a simulated
// mesh, a real Prometheus that receives, and with -kube a real Kubernetes API that lists the pods. demo.sh builds
// the programs and starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// options are what the command line says.
type options struct {
	scraper string // path of envoy-scraper
	tools   string // folder of prometheus and, for kube, of etcd and kube-apiserver
	kubeBin string // path of the program that runs the Kubernetes API; empty: the pods stand in a list
	dir     string // for data, configuration and logs; removed at the end
	once    bool   // end after the first result
	readme  string // path of README.md, whose output of the demo must be what is printed; empty: not compared
	oneAddr bool   // as where 127.0.0.2 and up are missing

	vmui           string // path of e2e/tools/vmui.sh, which finds or downloads the web UI of the graphs
	dashboards     string // folder of envoy-scraper's Grafana dashboards
	meshDashboards string // folder of the mesh's Grafana dashboards, which may be missing
}

func main() {
	var o options
	flag.StringVar(&o.scraper, "scraper", "", "`path` of envoy-scraper")
	flag.StringVar(&o.tools, "tools", "", "`folder` of the real parts")
	flag.StringVar(&o.kubeBin, "kube", "", "`path` of the program that runs a Kubernetes API")
	flag.StringVar(&o.dir, "dir", "", "`folder` for data, configuration and logs, removed at the end")
	flag.BoolVar(&o.once, "once", false, "end after the first result")
	flag.StringVar(&o.readme, "readme", "", "`path` of README.md: fail unless it shows what the demo prints")
	flag.BoolVar(&o.oneAddr, "one-address", false, "let all sidecars share 127.0.0.1, as on macOS")
	flag.StringVar(&o.vmui, "vmui", "", "`path` of e2e/tools/vmui.sh")
	flag.StringVar(&o.dashboards, "dashboards", "", "`folder` of envoy-scraper's Grafana dashboards")
	flag.StringVar(&o.meshDashboards, "mesh-dashboards", "", "`folder` of the mesh's own Grafana dashboards")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var printed strings.Builder
	err := run(ctx, o, io.MultiWriter(os.Stdout, &printed), newProgress(os.Stderr))
	if err == nil && o.readme != "" {
		err = compareWithReadme(o.readme, printed.String())
	}
	err = errors.Join(err, os.RemoveAll(o.dir)) // the logs that matter are in err
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil && (o.once || ctx.Err() == nil) {
		os.Exit(1)
	}
}
