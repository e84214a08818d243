-- generated: the databases of shop, one for each service with a store
CREATE DATABASE accounts OWNER shop;
CREATE DATABASE catalog OWNER shop;
CREATE DATABASE inventory OWNER shop;
CREATE DATABASE orders OWNER shop;
CREATE DATABASE payments OWNER shop;
CREATE DATABASE bank OWNER shop;
CREATE DATABASE shipping OWNER shop;
CREATE DATABASE notifications OWNER shop;
