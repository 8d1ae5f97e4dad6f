package main

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	base := map[string]string{"POD_NAMESPACE": "cardea-system", "CARDEA_PROXY_IMAGE": "proxy:1"}
	for name, tc := range map[string]struct {
		env     map[string]string
		args    []string
		wantErr string
		check   func(options) bool
	}{
		"defaults": {check: func(o options) bool {
			return o.namespace == "cardea-system" && o.controllers.RootNamespace == "cardea-system" &&
				o.controllers.ProxyImage == "proxy:1" && o.controllers.IdleTimeout == 5*time.Minute &&
				o.controllers.Rotation == 24*time.Hour && o.leaderElect && o.controllers.Clock != nil
		}},
		"environment":        {env: map[string]string{"CARDEA_PROXY_IDLE_TIMEOUT": "10s"}, check: func(o options) bool { return o.controllers.IdleTimeout == 10*time.Second }},
		"flag wins":          {env: map[string]string{"CARDEA_PROXY_IDLE_TIMEOUT": "10s"}, args: []string{"--proxy-idle-timeout=3s"}, check: func(o options) bool { return o.controllers.IdleTimeout == 3*time.Second }},
		"bad duration":       {env: map[string]string{"CARDEA_PROXY_IDLE_TIMEOUT": "soon"}, wantErr: "CARDEA_PROXY_IDLE_TIMEOUT"},
		"bad number":         {env: map[string]string{"CARDEA_PROXY_REPLICAS": "many"}, wantErr: "CARDEA_PROXY_REPLICAS"},
		"no replicas":        {args: []string{"--proxy-replicas=0"}, wantErr: "--proxy-replicas"},
		"no image":           {env: map[string]string{"CARDEA_PROXY_IMAGE": ""}, wantErr: "CARDEA_PROXY_IMAGE"},
		"no namespace":       {env: map[string]string{"POD_NAMESPACE": ""}, wantErr: "POD_NAMESPACE"},
		"overlap too long":   {args: []string{"--credential-overlap=48h"}, wantErr: "--credential-overlap"},
		"rotation too short": {args: []string{"--credential-rotation=1s"}, wantErr: "--credential-rotation"},
		"bad port":           {args: []string{"--api-server-ports=443,70000"}, wantErr: "70000"},
		"bad level":          {args: []string{"--log-level=loud"}, wantErr: "--log-level"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(tc.args, func(name string) string {
				if v, ok := tc.env[name]; ok {
					return v
				}
				return base[name]
			})
			switch {
			case tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)):
				t.Errorf("error %v, want one about %s", err, tc.wantErr)
			case tc.wantErr == "" && err != nil:
				t.Error(err)
			case tc.check != nil && !tc.check(o):
				t.Errorf("options %+v", o)
			}
		})
	}
}
