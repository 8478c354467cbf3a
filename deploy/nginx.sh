#!/bin/sh
set -eu
awk '/^nameserver/ { print "resolver " $2 " valid=5s;"; exit }' /etc/resolv.conf > /tmp/resolver.conf
exec nginx -c /etc/hub/nginx.conf -e /dev/stderr -g 'daemon off;'
