package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// configFlags are the flags that choose the configuration. The commands run, config and targets have them.
type configFlags struct {
	file           string
	kubeconfig     string
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
