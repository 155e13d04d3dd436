"""The tuner: which Triton configuration serves this model best under this traffic, measured on a real server.

knobs      what can be set, by Triton backend            estimate   a simulated queue: what can't be good enough
load/      asks the server as the traffic says           search     successive halving, paired, until it is decided
trial      one configuration, loaded under a temporary name
judging    figures against the limits and one another    reasons    why each setting is as it is
"""
