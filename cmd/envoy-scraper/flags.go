package main

import (
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/kubeconfig"
)

// configFlags are the flags that choose the configuration. The commands run, config, targets, why and cost have them.
type configFlags struct {
	file           string
	kubeconfig     string
	context        string // only commands that ask an API server have a flag for it
	remoteWriteURL string
	nodeName       string
	shardIndex     string
	shardCount     string
	externalLabels map[string]string
	selfScrape     bool
}

// addConfigFlags adds the flags to a command. Their values are set when the command line has been parsed.
func addConfigFlags(cmd *kingpin.CmdClause) *configFlags {
	f := &configFlags{externalLabels: map[string]string{}}
	cmd.Flag("config.file", "Configuration file in Prometheus' format, or only a list of jobs. Without a file, the "+
		"built-in job for Istio's sidecars runs.").
		PlaceHolder("FILE").StringVar(&f.file)
	cmd.Flag("kubeconfig", "Kubeconfig for every discovery that names neither api_server nor kubeconfig_file. Not "+
		"needed in a pod.").
		PlaceHolder("FILE").StringVar(&f.kubeconfig)
	cmd.Flag("remote-write.url", "URL that samples are sent to if the file has no remote_write, such as "+
		"http://prometheus:9090/api/v1/write.").
		PlaceHolder("URL").StringVar(&f.remoteWriteURL)
	addNodeName(cmd, &f.nodeName)
	addShard(cmd, &f.shardIndex, &f.shardCount)
	cmd.Flag("external-label", "Label added to every series that is sent, such as cluster=east. Overrides "+
		"external_labels of the file. Repeatable.").
		PlaceHolder("NAME=VALUE").StringMapVar(&f.externalLabels)
	cmd.Flag("self-scrape", "Also scrape and send the metrics of this process, as job envoy-scraper.").
		BoolVar(&f.selfScrape)
	return f
}

// addContext adds --context, for a command that calls useContext.
func (f *configFlags) addContext(cmd *kingpin.CmdClause) {
	cmd.Flag("context", "Context of --kubeconfig, or without it of $KUBECONFIG or ~/.kube/config. Default: the "+
		"current one of --kubeconfig.").StringVar(&f.context)
}

// useContext makes the discoveries use --context: --kubeconfig becomes a copy whose only context it is. The caller
// calls remove at the end.
func (f *configFlags) useContext() (remove func(), err error) {
	if f.context == "" {
		return func() {}, nil
	}
	chosen, err := kubeconfig.Read(f.kubeconfig, f.context)
	if err != nil {
		return nil, err
	}
	if f.kubeconfig != "" && chosen.IsCurrent {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "envoy-scraper-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if f.kubeconfig, err = chosen.Copy(dir); err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

func addNodeName(cmd *kingpin.CmdClause, name *string) {
	cmd.Flag("node-name", "Scrape only the pods of this Kubernetes node. For a DaemonSet.").
		Envar("NODE_NAME").PlaceHolder("NODE").StringVar(name)
}

func addShard(cmd *kingpin.CmdClause, index, count *string) {
	cmd.Flag("shard.index", "Index of this instance among those that share the targets, from 0. 'ordinal' takes the "+
		"number at the end of $POD_NAME, or of the host name.").
		PlaceHolder("INDEX").StringVar(index)
	cmd.Flag("shard.count", "Number of instances that share the targets. To change it without gaps, use "+
		"envoy_scraper.shards in the file instead.").
		PlaceHolder("COUNT").StringVar(count)
}

// options returns the flags as config.Load takes them.
func (f *configFlags) options() config.Options {
	return config.Options{
		File:           f.file,
		Kubeconfig:     f.kubeconfig,
		RemoteWriteURL: f.remoteWriteURL,
		NodeName:       f.nodeName,
		ShardIndex:     f.shardIndex,
		ShardCount:     f.shardCount,
		ExternalLabels: f.externalLabels,
		SelfScrape:     f.selfScrape,
	}
}
