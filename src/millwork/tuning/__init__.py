"""The tuner: which Triton configuration serves this model best under this traffic, measured on a real server.

slo             the limits                          scoring         figures against the limits and one another
knobs           what can be set                     search          successive halving, paired, until it is decided
trials          what is tried, and what first       tune            the search, its winner, and its head-room
service_times   one call of an engine, here         explain         why each setting is as it is
estimate        a simulated queue: what can't win   outcome         what is published, and what is said of it
session         the server, round by round          fitness         does what is published still fit its traffic?
loaded_models   each trial under a temporary name   load/           asks the server as the traffic says
"""
