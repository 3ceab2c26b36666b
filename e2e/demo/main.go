// Command demo runs envoy-scraper and everything it needs on this machine: a simulated mesh whose sidecars it scrapes,
// a real Prometheus that receives the samples, and with -kube a real Kubernetes API that lists the pods. It prints what
// Prometheus has stored. Run it with `make demo`: demo.sh builds the programs and starts this command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options holds the command line.
type options struct {
	scraper string // path of envoy-scraper
	tools   string // folder of prometheus and, with -kube, of etcd and kube-apiserver
	kubeBin string // path of the program that runs the Kubernetes API; empty: pods come from a file
	dir     string // folder for data, configuration and logs; removed at the end
	once    bool   // exit after the first result
	oneAddr bool   // use only 127.0.0.1, as on systems without 127.0.0.2 and up
}

func main() {
	var o options
	flag.StringVar(&o.scraper, "scraper", "", "`path` of envoy-scraper")
	flag.StringVar(&o.tools, "tools", "", "`folder` of the real parts")
	flag.StringVar(&o.kubeBin, "kube", "", "`path` of the program that runs a Kubernetes API; without it the pods "+
		"stand in a list")
	flag.StringVar(&o.dir, "dir", "", "`folder` for data, configuration and logs, removed at the end")
	flag.BoolVar(&o.once, "once", false, "end after the first result")
	flag.BoolVar(&o.oneAddr, "one-address", false, "let all sidecars share 127.0.0.1, as on macOS")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, o, os.Stdout, newProgress(os.Stderr))
	err = errors.Join(err, os.RemoveAll(o.dir)) // err already contains the relevant logs
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil && (o.once || ctx.Err() == nil) {
		os.Exit(1)
	}
}
