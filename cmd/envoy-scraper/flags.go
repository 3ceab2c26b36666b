package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// configFlags say what to run on. Every subcommand that reads a configuration has the same.
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

// addConfigFlags registers the flags with a subcommand. Their values are there once the command line is parsed.
func addConfigFlags(cmd *kingpin.CmdClause) *configFlags {
	f := &configFlags{externalLabels: map[string]string{}}
	cmd.Flag("config.file", "Configuration in Prometheus' format, or jobs alone. Without one the built-in job for Istio's sidecars runs.").
		PlaceHolder("FILE").StringVar(&f.file)
	cmd.Flag("kubeconfig", "How to reach the Kubernetes API, for every discovery that does not say. Not needed in a pod.").
		PlaceHolder("FILE").StringVar(&f.kubeconfig)
	cmd.Flag("remote-write.url", "Where samples go, if the file has no remote_write, as http://prometheus:9090/api/v1/write.").
		PlaceHolder("URL").StringVar(&f.remoteWriteURL)
	addNodeName(cmd, &f.nodeName)
	addShard(cmd, &f.shardIndex, &f.shardCount)
	cmd.Flag("external-label", "Label for everything that is sent, as cluster=east. Wins over the file. Repeatable.").
		PlaceHolder("NAME=VALUE").StringMapVar(&f.externalLabels)
	cmd.Flag("self-scrape", "Scrape and send the program's own metrics too, as job envoy-scraper.").
		BoolVar(&f.selfScrape)
	return f
}

func addNodeName(cmd *kingpin.CmdClause, name *string) {
	cmd.Flag("node-name", "Only the pods of this Kubernetes node: for a DaemonSet.").
		Envar("NODE_NAME").PlaceHolder("NODE").StringVar(name)
}

func addShard(cmd *kingpin.CmdClause, index, count *string) {
	cmd.Flag("shard.index", "Which of several instances that share the targets this is, from 0; ordinal: the number at the end of $POD_NAME or the host's name.").
		PlaceHolder("INDEX").StringVar(index)
	cmd.Flag("shard.count", "How many instances share the targets. To change it without gaps, write envoy_scraper.shards instead.").
		PlaceHolder("COUNT").StringVar(count)
}

// options are what the flags say, for config.Load.
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
