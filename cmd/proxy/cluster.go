package main

import (
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/backend/kube"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
)

// openCluster opens the backend that is the API server.
func openCluster(o *options, log logr.Logger) (*source, error) {
	klog.SetLogger(log.WithName("client"))
	config, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config.UserAgent = "cardea-proxy/" + version()
	b, err := kube.New(kube.Config{REST: config, Namespace: o.namespace, RootNamespace: o.rootNamespace, TLSDir: o.tlsDir,
		Clock: clock.RealClock{}, Log: log.WithName("kube")})
	if err != nil {
		return nil, err
	}
	return &source{Backend: b, namespace: o.namespace, redactKey: b.RedactKey(), store: configmap.New(b.Core(), o.namespace),
		ended: b.Ended, said: "policy of namespace " + o.namespace}, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}
