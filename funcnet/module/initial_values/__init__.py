"""How initial values are made: what an initializer may tell about its draw, and the programs that draws share."""
